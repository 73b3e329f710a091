"""Plots of the report, as PNG. Matplotlib is used without its global state."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from reverie.core.registry import require_extra
from reverie.evaluate.discrimination import auroc, mid_ranks, spearman
from reverie.evaluate.evaluation import TaskEvaluation
from reverie.evaluate.metrics import step_gains
from reverie.evaluate.predictors import clip_readings, step_readings

SHOWN = ("u_r/floored", "u_f/floored", "u_s/floored", "m")
"""Readings that are drawn; the table has all."""
_TITLE_LETTERS = 110
"""Letters of all titles in a line across the figure."""
_FEWEST_LETTERS = 12
_DPI = 110
COLOURS = (
    *("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7"),
    *("#a463f2", "#97bbf5", "#9c6b4e", "#9498a0", "#1b2a49", "#b0522d"),
)
"""Of lines, in order."""
_MIN_READING = 1e-4
"""Readings are drawn on a logarithmic axis from here on."""


def draw_drift(tasks: Sequence[TaskEvaluation]) -> bytes:
    """Draw the gap to the tokenizer per segment, and the gain per step, one line a task."""
    figure, (left, right) = panels(1, 2, height=3.9)
    for index, task in enumerate(tasks):
        style = _style(index)
        gaps = task.drift.gap_db
        left.plot(range(1, len(gaps) + 1), gaps, marker="o", markersize=3, **style)
        gains = np.median(step_gains(task.rollout.dream, task.rollout.decoded_still), axis=0)
        right.plot(range(1, len(gains) + 1), gains, label=_short(task.task), **style)
    left.set(title="Behind the tokenizer", xlabel="segment of 4 frames", ylabel="dB")
    left.set_xticks(range(1, 1 + max(len(task.drift.gap_db) for task in tasks)))
    right.set(title="Gain over the decoded still", xlabel="dreamed step", ylabel="median dB")
    right.axhline(0, color="#888", linewidth=1, linestyle=":")
    right.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return to_png(figure)


def draw_discrimination(tasks: Sequence[TaskEvaluation]) -> bytes:
    """Draw each shown reading against the rollout gain, and its ROC curve for divergence."""
    figure, grid = panels(2, len(SHOWN), height=6.0)
    per_task = [clip_readings(task.readings) for task in tasks]
    diverged = np.concatenate([task.gains.has_diverged for task in tasks])
    gains = np.concatenate([task.gains.moving_gain for task in tasks])
    for name, upper, lower in zip(SHOWN, grid[0], grid[1], strict=True):
        for index, (task, clips) in enumerate(zip(tasks, per_task, strict=True)):
            readings = np.maximum(clips[name], _MIN_READING)
            upper.scatter(
                readings,
                task.gains.moving_gain,
                s=9,
                alpha=0.75,
                linewidths=0,
                color=COLOURS[index % len(COLOURS)],
                label=_short(task.task),
            )
        joined = np.concatenate([clips[name] for clips in per_task])
        rho = _number(spearman(joined, gains))
        upper.set(xscale="log", title=f"{name}: ρ = {rho}", xlabel="reading, mean over the clip")
        upper.axhline(0, color="#888", linewidth=1, linestyle=":")
        upper.tick_params(which="minor", labelbottom=False)
        if 0 < diverged.sum() < len(diverged):
            hits, alarms = roc_curve(joined, diverged)
            lower.plot(alarms, hits, color="#4269d0", linewidth=1.6)
        lower.plot([0, 1], [0, 1], color="#aaa", linewidth=1, linestyle=":")
        area = _number(auroc(joined, diverged))
        lower.set(title=f"diverged clips: AUROC = {area}", xlabel="false alarms")
        lower.set_aspect("equal")
    grid[0][0].set_ylabel("rollout gain, dB")
    grid[1][0].set_ylabel("found")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, frameon=False, loc="outside lower center", ncols=6)
    return to_png(figure)


def draw_reliability(tasks: Sequence[TaskEvaluation]) -> bytes:
    """Draw the share of diverged steps in each tenth of a reading, pooled and ranked per task."""
    figure, axes = panels(1, len(SHOWN), height=2.9)
    per_task = [step_readings(task.readings) for task in tasks]
    labels = np.concatenate([task.diverged_steps.reshape(-1) for task in tasks])
    for name, axis in zip(SHOWN, axes, strict=True):
        flat = [steps[name].reshape(-1) for steps in per_task]
        ranked = np.concatenate([mid_ranks(values) / len(values) for values in flat])
        axis.plot(range(1, 11), tenths(np.concatenate(flat), labels), label="pooled", **_style(0))
        axis.plot(range(1, 11), tenths(ranked, labels), label="within task", **_style(2))
        axis.axhline(labels.mean(), color="#888", linewidth=1, linestyle=":")
        axis.set(title=name, xlabel="tenth of the reading", ylim=(0, None))
    axes[0].set_ylabel("share of diverged steps")
    axes[0].legend(fontsize=7, frameon=False)
    return to_png(figure)


def tenths(
    readings: Float[np.ndarray, " n"], labels: np.ndarray, count: int = 10
) -> Float[np.ndarray, " c"]:
    """Return the mean label in equal parts of the sorted readings; NaN where there is none."""
    kept = np.isfinite(readings)
    values, which = np.unique(readings[kept], return_inverse=True)
    sizes = np.bincount(which.reshape(-1), minlength=len(values))
    sums = np.bincount(which.reshape(-1), weights=labels[kept], minlength=len(values))
    # Equal readings share their mean label: they cannot be told apart, whatever their order.
    parts = np.array_split(np.repeat(sums / np.maximum(sizes, 1), sizes), count)
    return np.array([part.mean() if len(part) else np.nan for part in parts])


def roc_curve(
    readings: Float[np.ndarray, " n"], labels: np.ndarray
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Return the share of positives and of negatives above each threshold, from strict to lax."""
    kept = np.isfinite(readings)
    values, positive = readings[kept], labels[kept] > 0
    thresholds = np.unique(values)[::-1]
    above = values[None, :] >= thresholds[:, None]
    hits = above[:, positive].sum(axis=1) / max(1, int(positive.sum()))
    alarms = above[:, ~positive].sum(axis=1) / max(1, int((~positive).sum()))
    return np.concatenate([[0.0], hits]), np.concatenate([[0.0], alarms])


def draw_rows(
    columns: Mapping[str, Mapping[str, tuple[Sequence[float], Mapping[str, float]]]],
    *,
    line: float | None = None,
) -> bytes:
    """Draw a study: one panel a column, one line a row, with every run and the interval.

    Args:
        columns: By column and row: the values of the runs, and their ``middle``, ``low``, ``high``.
        line: Where the dotted line stands that rows are compared with; at the first row by default.
    """
    names = list(next(iter(columns.values())))
    figure, axes = panels(1, len(columns), height=1.4 + 0.3 * len(names))
    for axis, (column, rows) in zip(np.asarray(axes).reshape(-1), columns.items(), strict=True):
        for place, (values, spread) in enumerate(rows.values()):
            ends = [spread["low"], spread["high"]]
            # Butt: other caps make the interval longer than it is.
            axis.plot(ends, [place] * 2, color="#97bbf5", linewidth=5, solid_capstyle="butt")
            axis.scatter(values, [place] * len(values), s=8, color="#1b2a49", alpha=0.6, zorder=3)
            axis.scatter([spread["middle"]], [place], s=36, marker="|", color="#ff725c", zorder=3)
        origin = rows[names[0]][1]["middle"] if line is None else line
        axis.axvline(origin, color="#888", linewidth=1, linestyle=":")
        axis.set(yticks=range(len(names)), yticklabels=[])
        letters = max(_TITLE_LETTERS // len(columns), _FEWEST_LETTERS)
        axis.set_title(textwrap.fill(column.replace("_", " "), letters), fontsize=9)
        axis.set_ylim(len(names) - 0.5, -0.5)
    np.asarray(axes).reshape(-1)[0].set_yticklabels(names, fontsize=8)
    return to_png(figure)


def panels(rows: int, columns: int, *, height: float) -> tuple[Any, Any]:
    """Make a figure of the report's width and its axes."""
    figures = require_extra("matplotlib.figure", "eval", "draw the plots of a report")
    figure = figures.Figure(figsize=(11, height), dpi=_DPI, layout="constrained")
    axes = figure.subplots(rows, columns)
    for axis in np.asarray(axes).reshape(-1):
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return figure, axes


def _style(index: int) -> dict[str, Any]:
    line = "-" if index < len(COLOURS) else "--"
    return {"color": COLOURS[index % len(COLOURS)], "linewidth": 1.4, "linestyle": line}


def _short(task: str) -> str:
    return task.removeprefix("pygame-")


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"


def to_png(figure: Any) -> bytes:
    """Finish a figure and return it as PNG."""
    # Last: every set_title goes back to the default size.
    for axis in figure.axes:
        axis.title.set_fontsize(9.5)
        axis.xaxis.label.set_fontsize(8)
        axis.yaxis.label.set_fontsize(8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
