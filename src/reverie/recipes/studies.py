"""What every study shares: spreads, paired differences, and its table and picture."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from reverie.core.files import write_bytes, write_json
from reverie.core.registry import require_extra
from reverie.core.seeds import numpy_rng
from reverie.evaluate.plots import draw_rows
from reverie.evaluate.statistics import interquartile_mean, stratified_bootstrap

RESULT_FILE, TABLE_FILE, PICTURE = "study.json", "study.md", "study.png"

Shown = Mapping[str, Mapping[str, tuple[Sequence[float], Mapping[str, float]]]]
"""What the picture of a study shows, by panel and row: every run, and their spread."""
Found = Mapping[str, Float[np.ndarray, "tasks runs"]]
"""Metric to what was measured."""
Statistic = Callable[[Float[np.ndarray, "tasks runs"]], float]
"""The middle of all tasks and runs."""


def spread(
    values: Float[np.ndarray, "tasks runs"],
    name: str,
    statistic: Statistic = interquartile_mean,
) -> dict[str, float]:
    """Return the middle of all tasks and runs, by some statistic, with a stratified interval.

    Runs that could not be measured are left out with their whole column, and counted.
    """
    kept = values[:, np.isfinite(values).all(axis=0)]
    facts = {"num_runs": float(kept.size), "num_left_out": float(values.size - kept.size)}
    if not kept.size:
        return {**facts, **dict.fromkeys(("mean", "iqm", "middle", "low", "high"), np.nan)}
    rng = numpy_rng(0, "study", name)
    low, high = stratified_bootstrap(kept, statistic, rng=rng)
    means = {"mean": float(kept.mean()), "iqm": interquartile_mean(kept)}
    return {**facts, **means, "middle": statistic(kept), "low": low, "high": high}


def average(values: Float[np.ndarray, "tasks runs"]) -> float:
    """Return the mean of all: scores of 0 and 1 have no interquartile mean worth the name."""
    return float(values.mean())


def compared(
    mine: Found, others: Mapping[str, Found], statistic: Statistic = interquartile_mean
) -> dict[str, Any]:
    """Return the spread of every metric, and of its difference to other ways, paired by run.

    Args:
        mine: Metric to values.
        others: The same of each other way, by its name; a way is not compared with itself.
        statistic: The middle that is taken.
    """
    row: dict[str, Any] = {
        metric: spread(values, metric, statistic) for metric, values in mine.items()
    }
    for name, other in others.items():
        if other is mine:
            continue
        for metric, values in mine.items():
            difference = values - other[metric]
            row[difference_name(metric, name)] = spread(difference, metric, statistic)
    return row


def spread_by_task(
    found: Mapping[str, Found], tasks: Sequence[str]
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Return way, task and metric to the spread of the task's own runs."""
    return {
        name: {
            task: {metric: spread(values[row : row + 1], task) for metric, values in mine.items()}
            for row, task in enumerate(tasks)
        }
        for name, mine in found.items()
    }


def difference_name(metric: str, other: str) -> str:
    """Name the column of a difference."""
    return f"{metric}_minus_{other}"


def number_of(value: Any) -> float:
    """Return a measured number, not-a-number where a summary says something else."""
    return float(value) if isinstance(value, (int, float)) else np.nan


def require_plots() -> None:
    """Fail before anything is run, not after, where the picture could not be drawn."""
    require_extra("matplotlib.figure", "eval", "draw the study")


def write_study(
    out: Path, numbers: dict[str, Any], shown: Shown, *, line: float | None = None
) -> dict[str, Any]:
    """Write numbers, table and picture of a study; return the numbers as they read back."""
    write_json(out / RESULT_FILE, numbers)
    write_bytes(out / TABLE_FILE, table(numbers).encode())
    write_bytes(out / PICTURE, draw_rows(shown, line=line))
    return json.loads((out / RESULT_FILE).read_text())


def write_compared(
    out: Path, numbers: dict[str, Any], found: Mapping[str, Found], other: str
) -> dict[str, Any]:
    """Write a study whose ways are compared with one of them, run by run.

    Args:
        out: Folder.
        numbers: What is written; ``rows`` are ``compared``, by name.
        found: What was measured, by name.
        other: The way that the picture compares with; where it is alone or missing, the picture
            shows the measured numbers.
    """
    origin = found.get(other) if len(found) > 1 else None
    shown: dict[str, dict[str, tuple[Sequence[float], Mapping[str, float]]]] = {}
    for metric in next(iter(found.values())):
        column = metric if origin is None else difference_name(metric, other)
        start = 0.0 if origin is None else origin[metric]
        shown[column] = {
            name: ((mine[metric] - start).ravel().tolist(), numbers["rows"][name][column])
            for name, mine in found.items()
            if origin is None or name != other
        }
    return write_study(out, numbers, shown, line=None if origin is None else 0.0)


def table(numbers: Mapping[str, Any]) -> str:
    """Write a study's rows as a Markdown table: middles with 95 % intervals."""
    names = list(dict.fromkeys(name for row in numbers["rows"].values() for name in row))
    lines = [f"| {numbers['study']} | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    for name, row in numbers["rows"].items():
        cells = " | ".join(_cell(row.get(column)) for column in names)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{value['middle']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
    return "–" if value is None else f"{value:.3f}"
