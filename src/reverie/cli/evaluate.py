"""``reverie evaluate``: measure a model and write a report."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console

from reverie.cli.numbers import write_numbers
from reverie.core.registry import require_extra

if TYPE_CHECKING:
    from reverie.recipes.evaluation import EvaluationRun


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """What the model is measured on."""

    episodes: int = 8
    """Episodes per task."""
    data: Path | None = None
    """An episode store to read from; by default episodes are played live."""
    behaviour: str = "noise"
    """Policy that plays the live episodes."""
    visited: Path | None = None
    """An episode store, such as the training data, whose frames count as visited in the coverage
    maps; by default the real frames of the measured clips."""


def evaluate(
    model: tyro.conf.Positional[str] = "pocket",
    /,
    *,
    tasks: tuple[str, ...] = (),
    material: Annotated[Material, tyro.conf.OmitArgPrefixes] = Material(),  # noqa: B008
    benches: tuple[Literal["looks", "branches"], ...] = (),
    out: Path = Path("runs/evaluation"),
    json: Path | None = None,
    fit_thresholds: bool = False,
    device: str = "cpu",
) -> None:
    """Measure a model on held-out episodes; write numbers, pictures and an HTML report.

    Green numbers meet their bar, red ones miss it, and what is missed is said below the table.

    Example: reverie evaluate runs/pocket/model --tasks pygame-pong --episodes 4

    Args:
        model: Name of a shipped model, or the path of a model folder.
        tasks: Tasks to measure; all of the model's by default.
        material: What the model is measured on.
        benches: Further benches in the same report; see reverie evaluate looks and branches.
        out: Folder for the report, the pictures and evaluation.json.
        json: Also write the numbers to this file.
        fit_thresholds: Fit the limits of the page's readings to these dreams, and write them
            into the model's folder.
        device: cpu, or cuda: each process then puts its copy of the model on the GPU.
    """
    from reverie.models.load import resolve_model
    from reverie.parallel.device import choose_device
    from reverie.recipes.evaluation import EvaluationRun, run_evaluation

    # Told now, not after all the measuring.
    require_extra("matplotlib.figure", "eval", "draw the plots of the report")
    console = Console()
    chosen = str(choose_device(device))
    folder = resolve_model(model)
    run = EvaluationRun(
        model=folder,
        out=out,
        tasks=tasks,
        num_episodes=material.episodes,
        data=material.data,
        behaviour=material.behaviour,
        visited=material.visited,
        benches=benches,
        fits_thresholds=fit_thresholds,
        device=chosen,
    )
    with console.status(f"measuring {folder.name}") as status:
        numbers = run_evaluation(
            run, on_task=lambda done: status.update(f"measured {done.task}"), say=status.update
        )
    _finish(console, run, numbers, json)


def _finish(
    console: Console, run: "EvaluationRun", numbers: dict[str, Any], json: Path | None
) -> None:
    from reverie.cli.results import print_results

    print_results(console, numbers)
    console.print(f"Report: {run.out / 'report.html'}", soft_wrap=True)
    if run.fits_thresholds:
        console.print(f"Limits: {run.model / 'readings.json'}", soft_wrap=True)
    write_numbers(console, numbers, json)
