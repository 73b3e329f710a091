"""``reverie evaluate looks`` and ``branches``: two ways to dream wrong, each on its own bench."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from reverie.cli.numbers import write_numbers
from reverie.core.registry import require_extra

if TYPE_CHECKING:
    from reverie.recipes.benches import BenchName


@dataclass(frozen=True, kw_only=True, slots=True)
class Play:
    """What is played."""

    episodes: int = 4
    """Episodes per task, from seeds that no training uses."""
    max_steps: int = 100
    """Steps of an episode, at most."""
    behaviour: str = "noise"
    """Policy that plays."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Branching:
    """Where branches leave, and how far they go."""

    places: int = 2
    """Moments of each episode where branches leave."""
    horizon: int = 16
    """Steps of a branch."""


def looks(
    model: tyro.conf.Positional[str] = "pocket",
    /,
    *,
    tasks: tuple[str, ...] = (),
    unseen: tuple[str, ...] = (),
    play: Annotated[Play, tyro.conf.OmitArgPrefixes] = Play(),  # noqa: B008
    out: Path = Path("runs/looks"),
    json: Path | None = None,
    device: str = "cpu",
) -> None:
    """Show a model's tokenizer unfamiliar looks: how much is lost, and does u_r tell?

    Looks: the model's tasks from fresh seeds, other tasks of the same simulators, and the same
    frames with another hue, dark, bright, noisy, partly covered and mirrored. No dream is needed.

    Example: reverie evaluate looks pocket --tasks pygame-pong --unseen pygame-cowboy

    Args:
        model: Name of a shipped model, or the path of a model folder of any family.
        tasks: Tasks of the model; all by default.
        unseen: Tasks it was not trained on; by default others of the same simulators.
        play: What is played.
        out: Folder for looks.json, report.html and the pictures.
        json: Also write the numbers to this file.
        device: cpu, or cuda: the model is then on the GPU.
    """
    console = Console()
    given = {"out": out, "tasks": tasks, "unseen": unseen}
    numbers = _run("looks", model, console, play=play, device=device, **given)
    print_looks(console, numbers)
    _finish(console, numbers, out, json)


def branches(
    model: tyro.conf.Positional[str] = "pocket",
    /,
    *,
    tasks: tuple[str, ...] = (),
    play: Annotated[Play, tyro.conf.OmitArgPrefixes] = Play(),  # noqa: B008
    branching: Annotated[Branching, tyro.conf.OmitArgPrefixes] = Branching(),  # noqa: B008
    out: Path = Path("runs/branches"),
    json: Path | None = None,
    device: str = "cpu",
) -> None:
    """Play several futures from one restored moment, in the simulator and in the dream.

    Branches: what the policy did, one full action held, none, the opposite and the reverse. Does
    the dream follow actions that nobody took, and do its branches part where the real ones do?

    Example: reverie evaluate branches pocket --tasks pygame-pong --episodes 4

    Args:
        model: Name of a shipped model, or the path of a model folder of any family.
        tasks: Tasks of the model; all by default.
        play: What is played.
        branching: Where branches leave, and how far they go.
        out: Folder for branches.json, report.html and the pictures.
        json: Also write the numbers to this file.
        device: cpu, or cuda: the model is then on the GPU.
    """
    from reverie.evaluate.branches import BranchConfig

    console = Console()
    config = BranchConfig(horizon=branching.horizon, places_per_episode=branching.places)
    given = {"out": out, "tasks": tasks, "branches": config}
    numbers = _run("branches", model, console, play=play, device=device, **given)
    print_branches(console, numbers)
    _finish(console, numbers, out, json)


def _run(
    name: "BenchName", model: str, console: Console, *, play: Play, device: str, **given: Any
) -> dict[str, Any]:
    from reverie.evaluate.live import LiveConfig
    from reverie.models.load import resolve_model
    from reverie.parallel.device import choose_device
    from reverie.recipes.benches import BenchOrder, run_bench

    # Told now, not after all the measuring.
    require_extra("matplotlib.figure", "eval", "draw the plots of the report")
    chosen = str(choose_device(device))
    folder = resolve_model(model)
    live = LiveConfig(num_episodes=play.episodes, max_steps=play.max_steps, series="benches")
    order = BenchOrder(model=folder, behaviour=play.behaviour, live=live, device=chosen, **given)
    with console.status(f"measuring {folder.name}") as status:
        return run_bench(name, order, say=status.update)


def print_looks(console: Console, numbers: Mapping[str, Any]) -> None:
    """Print what each look costs, and how well u_r ranks frames by their error."""
    from reverie.evaluate.report import number

    _print_table(
        console,
        ("look", "PSNR\ndB", "95 %", "change\ndB", "u_r", "failed", "AUROC\nu_r", "frames"),
        [
            (
                look,
                number(row["psnr_db"], "{:.1f}"),
                _ends(row["psnr_interval_db"], "{:.1f}"),
                number(row["change_db"], "{:+.1f}") if look != "seen" else "",
                number(row["u_r"], "{:.3f}"),
                number(row["failed_share"], "{:.0%}"),
                number(row["auroc_from_seen"]["u_r"], "{:.2f}") if look != "seen" else "",
                str(row["num_frames"]),
            )
            for look, row in numbers["looks"].items()
        ],
    )
    for group, found in numbers["ranking"]["u_r"].items():
        pooled, within = (
            number(found["psnr"][name], "{:+.2f}") for name in ("pooled", "within_mean")
        )
        text = f"u_r against the PSNR of {group}: ρ {pooled} pooled, {within} within tasks"
        console.print(text, highlight=False, soft_wrap=True)


def print_branches(console: Console, numbers: Mapping[str, Any]) -> None:
    """Print how far dreamed branches part, task by task."""
    from reverie.evaluate.report import number

    rows = {**numbers["tasks"], "mean": numbers["mean"]}
    _print_table(
        console,
        ("task", "ratio", "95 %", "token-\nizer", "expl.", "95 %", "signs", "gap\ndB"),
        [
            (
                task,
                number(row["ratio"], "{:.2f}"),
                _ends(row["ratio_interval"], "{:.2f}"),
                number(row["tokenizer_ratio"], "{:.2f}"),
                number(row["explained"], "{:.2f}"),
                _ends(row["explained_interval"], "{:.2f}"),
                number(row["sign_agreement"], "{:.0%}"),
                number(row["gap_db"], "{:+.2f}"),
            )
            for task, row in rows.items()
        ],
    )
    console.print(
        "ratio: dreamed branches apart / real ones apart · expl.: share of the real difference "
        "that is dreamed right; 1 is right and 0 ignores the actions in both.",
        highlight=False,
        soft_wrap=True,
    )


def _print_table(console: Console, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    shown.add_column(titles[0], no_wrap=True)
    for title in titles[1:]:
        shown.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def _finish(console: Console, numbers: Mapping[str, Any], out: Path, json: Path | None) -> None:
    if numbers.get("left_out"):
        console.print(f"[yellow]left out[/]: {numbers['left_out']}", soft_wrap=True)
    console.print(f"Report: {out / 'report.html'}", soft_wrap=True)
    write_numbers(console, numbers, json)


def _ends(ends: Sequence[float | None], form: str) -> str:
    low, high = ends
    return "–" if low is None or high is None else f"{form.format(low)}…{form.format(high)}"


COMMANDS = {"looks": looks, "branches": branches}
