"""Statistics of a table of clips, whoever measured them: CSV in, numbers out."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from reverie.core.errors import ConfigError, DataError
from reverie.core.files import write_bytes
from reverie.core.registry import unknown_name_message
from reverie.core.seeds import numpy_rng
from reverie.evaluate.discrimination import (
    FiveNumbers,
    auroc,
    auroc_numbers,
    spearman,
    spearman_numbers,
)
from reverie.evaluate.metrics import IGNORED_RATIO
from reverie.evaluate.statistics import bootstrap_grouped, bootstrap_mean

TASK = "task"
RATIO = "action_shuffle_ratio"
GAIN = "rollout_psnr_gain_db"
PREDICTORS = ("u_r_norm", "u_f_norm", "u_s_norm")
COLUMNS = (TASK, RATIO, *PREDICTORS, GAIN)
DIVERGED_DB = 0.0
"""A clip has diverged if its gain over the repeated frame is at most this (arXiv 2606.27326)."""
_UNDEFINED = ("", "nan", "none", "null", "na")
_NUM_DRAWS = 500
"""Draws behind each pooled interval: 95 % ends settle to about 0.002 on thousands of clips."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClipTable:
    """One row a clip; readings and outcomes may be not-a-number."""

    tasks: tuple[str, ...]
    values: Mapping[str, Float[np.ndarray, " rows"]]
    """Column name to numbers; at least the ratio, the gain and one reading."""
    ignored_columns: tuple[str, ...] = ()
    """Columns of the file that were not asked for."""

    @property
    def num_rows(self) -> int:
        """Number of clips."""
        return len(self.tasks)


def read_clip_table(path: Path, predictors: Sequence[str] = PREDICTORS) -> ClipTable:
    """Read a CSV of clips.

    Args:
        path: The file; its first line names the columns.
        predictors: Columns that are judged, besides the task, the ratio and the gain.

    Raises:
        DataError: The file is missing, no CSV, empty, lacks columns, or has a cell that is no
            number; the text says which.
    """
    needed = (RATIO, GAIN, *predictors)
    rows = _read_rows(path)
    names = [name.strip() for name in rows[0]]
    for name in (TASK, *needed):
        if name not in names:
            found = ", ".join(names[:12])
            raise DataError(
                f"'{path}' has no column '{name}'; its first line names: {found}. A table of "
                f"clips has the columns {', '.join((TASK, *needed))}."
            )
    if len(set(names)) < len(names):
        raise DataError(f"'{path}' names a column twice: {', '.join(names)}. Rename one.")
    body = [(line, row) for line, row in enumerate(rows[1:], start=2) if row]
    if not body:
        raise DataError(f"'{path}' has no clips below its first line.")
    for line, row in body:
        if len(row) != len(names):
            raise DataError(
                f"Line {line} of '{path}' has {len(row)} cells, the first line has {len(names)}."
            )
    tasks = [row[names.index(TASK)].strip() for _, row in body]
    if "" in tasks:
        raise DataError(f"Line {body[tasks.index('')][0]} of '{path}' names no task.")
    return ClipTable(
        tasks=tuple(tasks),
        values={name: _numbers(path, name, names.index(name), body) for name in needed},
        ignored_columns=tuple(name for name in names if name not in (TASK, *needed)),
    )


def _read_rows(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"There is no file '{path}'. Give the path of a CSV of clips.") from error
    except IsADirectoryError as error:
        raise DataError(f"'{path}' is a folder. Give the path of a CSV of clips.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is not text in UTF-8, so it is no CSV of clips.") from error
    try:
        rows = list(csv.reader(text.splitlines(), strict=True))
    except csv.Error as error:
        raise DataError(f"'{path}' is not a CSV: {error}.") from error
    if not rows or not rows[0]:
        raise DataError(f"'{path}' is empty. Its first line should be: {','.join(COLUMNS)}")
    return rows


def _numbers(
    path: Path, name: str, column: int, body: Sequence[tuple[int, Sequence[str]]]
) -> Float[np.ndarray, " rows"]:
    values = np.empty(len(body))
    for index, (line, row) in enumerate(body):
        cell = row[column].strip()
        try:
            values[index] = math.nan if cell.lower() in _UNDEFINED else float(cell)
        except ValueError as error:
            raise DataError(
                f"Line {line} of '{path}' has {cell!r} under '{name}', expected a number or 'nan'."
            ) from error
    return values


def write_clip_table(path: Path, table: ClipTable) -> None:
    """Write a table that ``read_clip_table`` reads; numbers keep all their digits."""
    lines = [",".join((TASK, *table.values))]
    columns = list(table.values.values())
    for row, task in enumerate(table.tasks):
        cells = [repr(float(column[row])) for column in columns]
        lines.append(",".join((task, *cells)))
    write_bytes(path, ("\n".join(lines) + "\n").encode())


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictorStatistics:
    """One reading against the three outcomes of a table."""

    name: str
    gain: FiveNumbers
    divergence: FiveNumbers
    ignored: FiveNumbers
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """95 % bootstrap intervals: pooled numbers draw tasks, then clips; within-task means draw
    tasks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableStatistics:
    """What a table says, and what it leaves out."""

    predictors: tuple[PredictorStatistics, ...]
    num_rows: int
    num_tasks: int
    num_undefined: Mapping[str, int]
    """Cells per column that are not finite; such rows are dropped where the column is needed."""
    undefined_tasks: Mapping[str, int]
    """Rows per task in which any reading, gain or ratio is not finite."""
    base_rates: Mapping[str, float]


def table_statistics(
    table: ClipTable, predictors: Sequence[str] = PREDICTORS, *, num_draws: int = _NUM_DRAWS
) -> TableStatistics:
    """Judge every reading of a table, pooled and within tasks.

    Args:
        table: The clips.
        predictors: Columns to judge; larger should mean worse.
        num_draws: Bootstrap draws; 0 leaves the intervals out.

    Raises:
        ConfigError: A predictor is no column of the table.
    """
    for name in predictors:
        if name not in table.values:
            hint = f"The table has: {', '.join(table.values)}"
            raise ConfigError(unknown_name_message("column", name, tuple(table.values), hint))
    kept = {name: table.values[name] for name in (RATIO, GAIN, *predictors)}
    broken = ~np.all([np.isfinite(values) for values in kept.values()], axis=0)
    names = np.asarray(table.tasks)
    return TableStatistics(
        predictors=tuple(_judge(table, name, num_draws) for name in predictors),
        num_rows=table.num_rows,
        num_tasks=len(set(table.tasks)),
        num_undefined={name: int((~np.isfinite(values)).sum()) for name, values in kept.items()},
        undefined_tasks={
            task: int(broken[names == task].sum())
            for task in dict.fromkeys(table.tasks)
            if broken[names == task].any()
        },
        base_rates={
            "divergence": _share(kept[GAIN], kept[GAIN] <= DIVERGED_DB),
            "ignored": _share(kept[RATIO], kept[RATIO] <= IGNORED_RATIO),
        },
    )


def _share(outcome: Float[np.ndarray, " n"], label: np.ndarray) -> float:
    finite = np.isfinite(outcome)
    return float(label[finite].mean()) if finite.any() else math.nan


def _judge(table: ClipTable, name: str, num_draws: int) -> PredictorStatistics:
    readings, tasks = table.values[name], table.tasks
    gain, ratio = table.values[GAIN], table.values[RATIO]
    outcomes = {"divergence": (gain, gain <= DIVERGED_DB), "ignored": (ratio, ratio <= 1.1)}
    numbers = {
        "gain": spearman_numbers(readings, gain, tasks),
        **{
            label: auroc_numbers(readings, positive, outcome, tasks)
            for label, (outcome, positive) in outcomes.items()
        },
    }
    intervals: dict[str, tuple[float, float]] = {}
    if num_draws:
        rng = numpy_rng(0, "table", name)
        for key, found in numbers.items():
            outcome, positive = outcomes.get(key, (gain, gain))
            kept = np.isfinite(readings) & np.isfinite(outcome)
            statistic = spearman if key == "gain" else auroc
            intervals[f"{key}_pooled"] = bootstrap_grouped(
                np.stack([readings[kept], np.asarray(positive[kept], dtype=np.float64)]),
                np.asarray(tasks)[kept].tolist(),
                lambda pair, statistic=statistic: statistic(pair[0], pair[1]),
                rng=rng,
                num_draws=num_draws,
            )
            within = np.array(list(found.by_task.values()))
            intervals[f"{key}_within_task"] = bootstrap_mean(within, rng=rng)
    return PredictorStatistics(name=name, **numbers, intervals=intervals)


def statistics_numbers(statistics: TableStatistics) -> dict[str, Any]:
    """Return the statistics as one plain dictionary for JSON; undefined numbers are not-a-number.

    Keys of each predictor: ``spearman_*`` (with the rollout gain), ``auroc_divergence_*``,
    ``auroc_ignored_*``, each ``pooled``, ``within_task`` and more.
    """
    return {
        "predictors": {
            item.name: {
                "num_clips": item.gain.num_clips,
                "num_dropped": item.gain.num_dropped,
                **_flat("spearman", "gain", item),
                **_flat("auroc_divergence", "divergence", item),
                **_flat("auroc_ignored", "ignored", item),
            }
            for item in statistics.predictors
        },
        "num_rows": statistics.num_rows,
        "num_tasks": statistics.num_tasks,
        "num_undefined": dict(statistics.num_undefined),
        "undefined_rows_by_task": dict(statistics.undefined_tasks),
        "base_rates": dict(statistics.base_rates),
    }


def _flat(prefix: str, key: str, item: PredictorStatistics) -> dict[str, Any]:
    found: FiveNumbers = getattr(item, key)
    flat = {
        "pooled": found.pooled,
        "within_task": found.within_mean,
        "within_task_median": found.within_median,
        "within_task_wrong_sign_share": found.wrong_sign_share,
        "within_task_num_tasks": found.num_tasks_within,
        "within_task_by_task": dict(found.by_task),
        "between_tasks": found.between,
        "on_task_ranks": found.on_task_ranks,
        "task_identity": found.task_identity,
    }
    for place in ("pooled", "within_task"):
        if f"{key}_{place}" in item.intervals:
            flat[f"{place}_interval"] = list(item.intervals[f"{key}_{place}"])
    return {f"{prefix}_{name}": value for name, value in flat.items()}
