"""``reverie evaluate``: measure a model and write a report."""

from pathlib import Path

import tyro
from rich.console import Console

from reverie.core.files import write_json
from reverie.core.registry import require_extra


def evaluate(
    model: tyro.conf.Positional[str] = "pocket",
    /,
    *,
    tasks: tuple[str, ...] = (),
    episodes: int = 8,
    data: Path | None = None,
    behaviour: str = "noise",
    out: Path = Path("runs/evaluation"),
    json: Path | None = None,
    fit_thresholds: bool = False,
) -> None:
    """Measure a model on held-out episodes; write numbers, pictures and an HTML report.

    Green numbers meet their bar, red ones miss it, and what is missed is said below the table.

    Example: reverie evaluate runs/pocket/model --tasks pygame-pong --episodes 4

    Args:
        model: Name of a shipped model, or the path of a model folder.
        tasks: Tasks to measure; all of the model's by default.
        episodes: Episodes per task.
        data: An episode store to read from; by default episodes are played live.
        behaviour: Policy that plays the live episodes.
        out: Folder for the report, the pictures and evaluation.json.
        json: Also write the numbers to this file.
        fit_thresholds: Fit the limits of the page's readings to these dreams, and write them
            into the model's folder.
    """
    from reverie.models.load import resolve_model
    from reverie.recipes.evaluation import EvaluationRun, run_evaluation

    # Told now, not after all the measuring.
    require_extra("matplotlib.figure", "eval", "draw the plots of the report")
    console = Console()
    folder = resolve_model(model)
    with console.status(f"measuring {folder.name}") as status:
        numbers = run_evaluation(
            EvaluationRun(
                model=folder,
                out=out,
                tasks=tasks,
                num_episodes=episodes,
                data=data,
                behaviour=behaviour,
                fits_thresholds=fit_thresholds,
            ),
            on_task=lambda done: status.update(f"measured {done.task}"),
        )
    from reverie.cli.results import print_results

    print_results(console, numbers)
    console.print(f"Report: {out / 'report.html'}", soft_wrap=True)
    if fit_thresholds:
        console.print(f"Limits: {folder / 'readings.json'}", soft_wrap=True)
    if json is not None:
        write_json(json, numbers)
        console.print(f"Numbers: {json}", soft_wrap=True)
