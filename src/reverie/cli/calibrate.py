"""``reverie calibrate``: fit the probability that a dream goes wrong, and say how good it is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from reverie.core.files import write_json
from reverie.core.registry import require_extra

if TYPE_CHECKING:
    from reverie.recipes.calibration import DreamOrder


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """What is fitted, to how much."""

    episodes: int = 10
    """Episodes per task and behaviour (noise, mixed) to fit on, two dreams each."""
    test_episodes: int = 7
    """Other episodes per task and behaviour to judge on."""
    behaviours: tuple[str, ...] = ("noise", "mixed")
    """Who plays them; tasks without an expert need others, such as 'held' and 'random'."""
    twins: int = 3
    """Dreams beside each dream, as samples of what could be true, when it is fitted and wherever
    it is shown. More know better what to expect and cost more."""
    verifier: bool = False
    """Also train a verifier (is this transition real or imagined?), judge it, and let the
    probability look at it if that helps on tasks left out of the fit."""


def calibrate(
    model: tyro.conf.Positional[str] = "pocket",
    /,
    *,
    tasks: tuple[str, ...] = (),
    material: Annotated[Material, tyro.conf.OmitArgPrefixes] = Material(),  # noqa: B008
    out: Path = Path("runs/calibration"),
    json: Path | None = None,
    workers: int = 2,
    save: bool = True,
    device: str = "cpu",
) -> None:
    """Fit P(diverged within 8 frames) for a model, with thresholds of known false-alarm rates.

    Dreams fresh episodes, fits features to what really happened, judges the result on others
    beside every baseline. The file goes into the model's folder; the page finds it there. The
    same command goes on where it was interrupted.

    Example: reverie calibrate runs/pocket/model --episodes 10

    Args:
        model: Name of a shipped model, or the path of a model folder.
        tasks: Tasks to fit on; all of the model's by default.
        material: How many episodes, and whether a verifier is trained.
        out: Folder for the dreams, the numbers and the report.
        json: Also write the numbers to this file.
        workers: Processes.
        save: Write the calibration into the model's folder; otherwise into OUT.
        device: cpu, or cuda: each process then puts its copy of the model on the GPU.
    """
    from reverie.evaluate.evaluation import plain
    from reverie.hallucination.verifier_training import VerifierTraining
    from reverie.models.load import resolve_model
    from reverie.parallel.device import choose_device
    from reverie.recipes.calibration import calibration_run, report_calibration, run_calibration

    for module in ("sklearn", "scipy", "matplotlib.figure"):
        require_extra(module, "eval", "fit and judge a calibration")
    console = Console()
    chosen = str(choose_device(device))
    folder = resolve_model(model)
    run = calibration_run(
        folder,
        out,
        _dreams(tasks, material),
        test_episodes=material.test_episodes,
        num_workers=workers,
        saves=save,
        verifier=VerifierTraining() if material.verifier else None,
        device=chosen,
    )
    with console.status(f"dreaming with {folder.name}") as status:
        result = run_calibration(run, on_dreams=lambda task, _: status.update(f"watched {task}"))
    numbers = plain(result.numbers)
    print_judgement(console, numbers)
    if json is not None:
        write_json(json, numbers)
    report = report_calibration(result, out / "report.html", title=folder.name)
    console.print(f"Report: {report}", soft_wrap=True)


def _dreams(tasks: tuple[str, ...], material: Material) -> "DreamOrder":
    from reverie.recipes.calibration import DreamOrder

    return DreamOrder(
        tasks=tasks,
        behaviours=material.behaviours,
        episodes_per_behaviour=material.episodes,
        num_twins=material.twins,
    )


_COLUMNS = (
    ("ECE", lambda row: row["ece"], "{:.3f}"),
    ("Brier", lambda row: row["brier"], "{:.3f}"),
    ("AUROC\nstep", lambda row: row["step_auroc"], "{:.2f}"),
    ("AUROC\nwithin", lambda row: row["auroc_divergence"]["within_mean"], "{:.2f}"),
    ("ρ gain\nwithin", lambda row: row["spearman"]["within_mean"], "{:+.2f}"),
    ("false\nalarms", lambda row: row["detection"]["*"]["false_alarm_rate"], "{:.0%}"),
    ("found", lambda row: _share(row["detection"]["*"]), "{:.0%}"),
    ("lead", lambda row: row["detection"]["*"]["lead_median"], "{:+.0f}"),
)


def print_judgement(console: Console, numbers: Mapping[str, Any]) -> None:
    """Print one line for every candidate, and the comparison with the best published one."""
    table = Table(
        title="Divergence within 8 frames, on episodes that nothing was fitted to",
        caption="within: mean over tasks · false alarms, found, lead (frames): flags at 5 %",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    # In a narrow terminal names are wrapped; numbers never are.
    table.add_column("")
    for title, _, _ in _COLUMNS:
        table.add_column(title, justify="right", no_wrap=True)
    for name, row in numbers["candidates"].items():
        table.add_row(name, *(_cell(find(row), form) for _, find, form in _COLUMNS))
    console.print(table)
    gap = numbers["probability_minus_best_published"]
    console.print(
        f"Within-task AUROC above '{numbers['best_published']}': "
        f"{_cell(gap['difference'], '{:+.3f}')} "
        f"[{_cell(gap['low'], '{:+.3f}')}, {_cell(gap['high'], '{:+.3f}')}]; "
        f"{numbers['num_fit_dreams']} dreams to fit, {numbers['num_test_dreams']} to judge.",
        highlight=False,
        soft_wrap=True,
    )


def _share(score: Mapping[str, Any]) -> float | None:
    return score["detected"] / score["num_bad"] if score["num_bad"] else None


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None or math.isnan(value) else form.format(value)
