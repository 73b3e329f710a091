"""``reverie plan``: plan in a dream, act in the simulator, and count the score."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from reverie.cli.train import parse_settings
from reverie.core.files import write_json

if TYPE_CHECKING:
    from reverie.recipes.planning import PlannedEpisode, PlanningOrder


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanMachine:
    """What planning runs on."""

    workers: int | None = None
    """Processes, by default one per CPU core."""
    device: str = "cpu"
    """cpu, or cuda: each process then puts its copy of the model on the GPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanPlay:
    """What is played."""

    episodes: int = 10
    """Episodes per task."""
    seed: int = 0
    """Of the starts; another one gives other episodes."""
    cautious: Literal["price", "survival", "stop"] | None = None
    """Doubt the dream, with the model's calibrated probability that it goes wrong: pay for it
    (price), trust each reward as far as the dream survives (survival), or end a dream at two
    flagged steps in a row (stop). --set caution.beta=3 caution.predictor=u_f … says more."""


def plan(
    *,
    task: tuple[str, ...] = (),
    model: str = "pocket",
    play: Annotated[PlanPlay, tyro.conf.OmitArgPrefixes] = PlanPlay(),  # noqa: B008
    settings: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="PATH=VALUE")] = (),
    out: Path = Path("runs/plan"),
    json: Path | None = None,
    machine: Annotated[PlanMachine, tyro.conf.OmitArgPrefixes] = PlanMachine(),  # noqa: B008
) -> None:
    """Play episodes by planning in a model's dream, and as many at random from the same starts.

    Stop it whenever you like: the same command plays only what is missing. Scores are the
    benchmark's, in [0, 1]; the difference is paired by start, with a 95 % interval. A GIF per task
    shows what happened above what the plan expected.

    Example: reverie plan --task pygame-point-maze-var1 --set plan.horizon=16 num_flow_steps=1

    Args:
        task: Tasks to play; all of the model's by default.
        model: Name of a shipped model, or the path of a model folder.
        play: How many episodes from which starts, and how cautiously.
        settings: Fields of the order to change, by dotted path: plan.horizon, plan.num_executed,
            plan.hold, plan.optimiser (cem, icem, mppi, cma-es), plan.num_dreams,
            plan.search.num_candidates, plan.search.num_iterations, num_flow_steps, max_steps …
        out: Folder for results and pictures.
        json: Also write the numbers to this file.
        machine: What to run on.
    """
    from reverie.core.config import override
    from reverie.models.load import read_manifest, resolve_model
    from reverie.recipes.caution import Caution
    from reverie.recipes.planning import PlanningOrder

    folder = resolve_model(model)
    order = override(
        PlanningOrder(
            tasks=task or read_manifest(folder).dynamics.tasks,
            num_episodes=play.episodes,
            seed=play.seed,
            caution=Caution(kind=play.cautious or "none"),
        ),
        parse_settings(settings),
    )
    console = Console()
    numbers = _run_with_bar(console, folder, order, out, machine)
    _print(console, numbers)
    console.print(f"Results: {out / 'planning.json'}, pictures beside it", soft_wrap=True)
    if json is not None:
        write_json(json, numbers)


def _run_with_bar(
    console: Console, folder: Path, order: "PlanningOrder", out: Path, machine: PlanMachine
) -> dict[str, Any]:
    columns = (
        TextColumn("planning"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("episodes · {task.fields[last]} ·"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    from reverie.parallel.device import choose_device
    from reverie.recipes.planning import run_planning

    device = str(choose_device(machine.device))
    with Progress(*columns, console=console) as bar:
        line = bar.add_task("plan", total=None, last="starting")

        def show(episode: "PlannedEpisode", done: int, total: int) -> None:
            last = f"{episode.task} {episode.policy} {episode.score:.3f}"
            bar.update(line, total=total, completed=done, last=last)

        workers = (os.cpu_count() or 1) if machine.workers is None else machine.workers
        return run_planning(folder, order, out, num_workers=workers, device=device, on_episode=show)


def _print(console: Console, numbers: dict[str, Any]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("task", no_wrap=True)
    for head in ("by", "planned", "random", "more", "95 % interval"):
        table.add_column(head)
    for task, found in numbers["tasks"].items():
        for name, values, digits in (("score", found, 3), ("return", found["returns"], 1)):
            difference = values["difference"]
            colour = "green" if values["beats_random"] else "red"
            low, high = difference["low"], difference["high"]
            table.add_row(
                task if name == "score" else "",
                name,
                f"{values['planner']['mean']:.{digits}f}",
                f"{values['random']['mean']:.{digits}f}",
                f"[{colour}]{difference['mean']:+.{digits}f}[/]",
                # One episode has no interval.
                "–" if math.isnan(low) else f"\\[{low:+.{digits}f}, {high:+.{digits}f}]",
            )
    console.print(table)
    console.print(
        f"Better than random, with an interval that excludes zero: by score "
        f"{numbers['num_beats_random']} of {numbers['num_tasks']} tasks, by return "
        f"{numbers['num_beats_random_by_return']}."
    )
