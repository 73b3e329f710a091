"""The demo: measure a shipped model live, write the report; serving the page comes after."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reverie.models.load import read_manifest
from reverie.recipes.evaluation import (
    OnTask,
    evaluate_live_parallel,
    quick_order,
    write_results,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoResult:
    """What the demo found."""

    numbers: Mapping[str, Any]
    report: Path
    model: Path


def run_demo(
    folder: Path,
    out: Path,
    *,
    tasks: tuple[str, ...] = (),
    num_workers: int = 2,
    on_task: OnTask | None = None,
) -> DemoResult:
    """Evaluate a model on fresh episodes of its simulators; write numbers, pictures, report.

    Args:
        folder: Model folder.
        out: Where results go.
        tasks: Tasks to measure; empty means all of the model's.
        num_workers: Processes that measure side by side.
        on_task: Called with each task as soon as it is measured.
    """
    order = quick_order(tasks)
    measured = evaluate_live_parallel(folder, order, num_workers=num_workers, on_task=on_task)
    num_flow_steps = read_manifest(folder).dynamics.num_flow_steps
    numbers = write_results(
        measured,
        out,
        title=f"Reverie demo: {folder.name}",
        facts=describe(num_flow_steps, order.live.num_episodes, order.behaviour),
    )
    return DemoResult(numbers=numbers, report=out / "report.html", model=folder)


def describe(num_flow_steps: int, num_episodes: int, behaviour: str) -> dict[str, str]:
    """Say how an evaluation was made, for the top of its report."""
    return {
        "episodes": f"{num_episodes} per task, played by '{behaviour}' with held-out seeds",
        "flow substeps per frame": str(num_flow_steps),
    }
