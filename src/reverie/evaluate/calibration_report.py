"""The report of a calibration: is the probability honest, do the flags come in time?"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from reverie.core.files import write_bytes
from reverie.evaluate.coverage_report import draw_maps, map_tasks
from reverie.evaluate.detection import Judged
from reverie.evaluate.plots import COLOURS, panels, roc_curve, to_png
from reverie.evaluate.report import page, picture, section, table
from reverie.evaluate.watched import WatchedDreams

SHOWN = ("probability", "published readings", "u_r and motion", "motion", "task identity")
"""Candidates that are drawn; the table has all."""
_DASH = "–"

_TEXT_TABLE = (
    "Every candidate goes through the same pipeline: standardised logistic regression, isotonic "
    "regression and thresholds, each dream read by a map that did not see its episode; judged on "
    "other seeds. ECE: calibration error over 15 equal-count bins. AUROC step: telling steps "
    "before a divergence within 8 frames. Within: mean over tasks of the clip's AUROC for rollout "
    "gain ≤ 0 dB, and of its rank correlation with the gain."
)
_TEXT_RELIABILITY = (
    "Predicted probability against the share of steps that really diverged within 8 frames, with "
    "exact 95 % intervals (steps of one dream depend on each other, so the true ones are wider). "
    "On the diagonal, a probability means what it says."
)
_TEXT_COVERAGE = (
    "Each task on the two leading principal axes of its real latents: how often real frames of the "
    "fit's episodes lie in a cell, the mean reading and the mean error of dreamed frames there. ρ: "
    "rank correlation over cells of visits and reading; negative where readings are high in rare "
    "places. Grey: too few frames."
)
_TEXT_TASKS = (
    "Flags at a false-alarm rate of 5 %: false alarms among dreams that never diverged, with "
    "its exact interval; diverged dreams flagged before or at the onset, or at all; lead: "
    "frames from the first flag to the onset, median and quartiles over flagged dreams."
)


def write_calibration_report(
    path: Path,
    judged: Sequence[Judged],
    test: WatchedDreams,
    numbers: Mapping[str, Any],
    *,
    known: WatchedDreams,
    title: str,
) -> Path:
    """Write the report.

    Args:
        path: The ``.html`` file.
        judged: Every candidate; the calibrated probability is called ``probability``.
        test: The dreams that it was judged on.
        numbers: From ``calibration_numbers``.
        known: The dreams it was fitted on; their real frames are what the maps call visited.
        title: Name of the model.
    """
    first = judged[0]
    gap = numbers["probability_minus_best_published"]
    facts = {
        "dreams": f"{numbers['num_fit_dreams']} to fit, {numbers['num_test_dreams']} to judge",
        "best published predictor": numbers["best_published"],
        "within-task AUROC above it": (
            f"{gap['difference']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]"
        ),
        "settled dreams found": f"{first.settled.detected} of {first.settled.num_bad}",
    }
    body = [
        section("Candidates", _TEXT_TABLE, _candidates(judged)),
        section(
            "Reliability",
            _TEXT_RELIABILITY,
            picture(draw_reliability_diagrams(judged), "Reliability diagrams"),
        ),
        section("ROC", "", picture(draw_roc(judged, test), "ROC curves, pooled and per task")),
        section("Per task", _TEXT_TASKS, _tasks(first)),
        section("In time", "", picture(draw_over_time(test, judged, numbers), "Dreams over time")),
    ]
    maps = map_tasks(known, test)
    body.append(section("Coverage", _TEXT_COVERAGE, picture(draw_maps(maps), "Coverage maps")))
    write_bytes(path, page(f"Calibration of {title}", facts, body).encode())
    return path


def _number(value: float, form: str = "{:.3f}") -> str:
    return _DASH if np.isnan(value) else form.format(value)


def _candidates(judged: Sequence[Judged]) -> str:
    names = ("ECE", "Brier", "log loss", "AUROC step", "AUROC pooled", "AUROC within")
    names += (
        "ρ pooled",
        "ρ within",
        "tasks",
        "false alarms",
        "found",
        "in time",
        "lead",
        "settled",
    )
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = ""
    for item in judged:
        flags = item.detection["*"]
        cells = [
            *(_number(x) for x in (item.steps.ece, item.steps.brier, item.steps.log_loss)),
            *(_number(x) for x in (item.step_auroc, item.diverged.pooled)),
            *(_number(x) for x in (item.diverged.within_mean,)),
            *(_number(x, "{:+.2f}") for x in (item.gain.pooled, item.gain.within_mean)),
            str(item.diverged.num_tasks_within),
            f"{flags.false_alarms} of {flags.num_good}",
            f"{flags.detected} of {flags.num_bad}",
            str(flags.detected_in_time),
            _number(flags.lead_median, "{:+.0f}"),
            f"{item.settled.detected} of {item.settled.num_bad}",
        ]
        texts = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        rows += f"<tr><td>{escape(item.name)}</td>{texts}</tr>"
    return table(head, rows, "candidate")


def _tasks(item: Judged) -> str:
    names = ("ECE", "AUROC", "ρ", "good dreams", "false alarms", "interval", "diverged")
    head = "".join(f"<th>{n}</th>" for n in (*names, "in time", "found", "missed", "lead"))
    rows = ""
    for task, flags in item.detection.items():
        score = item.by_task.get(task, item.steps)
        low, high = flags.false_alarm_interval
        first, third = flags.lead_quartiles
        lead = (
            _DASH
            if np.isnan(flags.lead_median)
            else f"{flags.lead_median:+.0f} [{first:+.0f}, {third:+.0f}]"
        )
        cells = [
            _number(score.ece),
            _number(item.diverged.by_task.get(task, float("nan"))),
            _number(item.gain.by_task.get(task, float("nan")), "{:+.2f}"),
            str(flags.num_good),
            _number(flags.false_alarm_rate, "{:.0%}"),
            f"[{low:.0%}, {high:.0%}]",
            *(str(x) for x in (flags.num_bad, flags.detected_in_time, flags.detected)),
            str(flags.misses),
            lead,
        ]
        texts = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        name = "all" if task == "*" else task
        rows += f"<tr><td>{escape(name)}</td>{texts}</tr>"
    return table(head, rows, "task")


def draw_reliability_diagrams(judged: Sequence[Judged]) -> bytes:
    """Draw predicted against real rates, one panel a candidate."""
    shown = [item for item in judged if item.name in SHOWN]
    figure, axes = panels(1, len(shown), height=2.9)
    for item, axis in zip(shown, np.atleast_1d(axes), strict=True):
        bins = item.steps.bins
        p, y = [part.probability for part in bins], [part.rate for part in bins]
        spread = np.abs(np.array([(b.rate - b.low, b.high - b.rate) for b in bins]).T)
        axis.plot([0, 1], [0, 1], color="#aaa", linewidth=1, linestyle=":")
        axis.errorbar(p, y, yerr=spread, color=COLOURS[0], marker="o", markersize=3, linewidth=1)
        axis.set(title=f"{item.name}: ECE {item.steps.ece:.3f}", xlabel="predicted")
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    np.atleast_1d(axes)[0].set_ylabel("share that diverged")
    return to_png(figure)


def draw_roc(judged: Sequence[Judged], test: WatchedDreams) -> bytes:
    """Draw ROC curves of clip scores for divergence: pooled left, of each task right."""
    figure, (left, right) = panels(1, 2, height=4.2)
    label = test.gains.has_diverged
    shown = [item for item in judged if item.name in SHOWN]
    for index, item in enumerate(shown):
        hits, alarms = roc_curve(item.clip_scores, label)
        name = f"{item.name} ({item.diverged.pooled:.2f})"
        left.plot(alarms, hits, color=COLOURS[index], linewidth=1.4, label=name)
    names = np.asarray(test.task)
    for index, (task, value) in enumerate(judged[0].diverged.by_task.items()):
        mine = names == task
        hits, alarms = roc_curve(judged[0].clip_scores[mine], label[mine])
        short = f"{task.removeprefix('pygame-')} ({value:.2f})"
        colour = COLOURS[index % len(COLOURS)]
        right.plot(alarms, hits, color=colour, linewidth=1.2, label=short)
    for axis, title in ((left, "pooled"), (right, "the probability, within tasks")):
        axis.plot([0, 1], [0, 1], color="#aaa", linewidth=1, linestyle=":")
        axis.set(title=title, xlabel="false alarms", ylabel="found")
        axis.set_aspect("equal")
        # Below the diagonal there is room; beside the panel legends would be cut off.
        axis.legend(fontsize=7, frameon=False, loc="lower right", labelspacing=0.25)
    return to_png(figure)


def draw_over_time(
    test: WatchedDreams, judged: Sequence[Judged], numbers: Mapping[str, Any]
) -> bytes:
    """Draw how many dreams have diverged at each step, and how rates climb with probability."""
    figure, (left, right) = panels(1, 2, height=3.4)
    diverged = test.has_diverged
    steps = np.arange(1, test.horizon + 1)
    names = np.asarray(test.task)
    for index, task in enumerate(dict.fromkeys(test.task)):
        style = {"color": COLOURS[index % len(COLOURS)], "linewidth": 1.2}
        short = task.removeprefix("pygame-")
        left.plot(steps, diverged[names == task].mean(axis=0), label=short, **style)
    left.set(title="share of dreams diverged", xlabel="dreamed step", ylim=(0, 1))
    for index, item in enumerate(x for x in judged if x.name in SHOWN[:4]):
        rates = [part["rate"] for part in numbers["candidates"][item.name]["reliability"]]
        right.plot(range(1, len(rates) + 1), rates, color=COLOURS[index], label=item.name)
    right.set(title="share that diverges, by fifteenth of the probability", xlabel="fifteenth")
    right.set_ylim(0, 1)
    for axis in (left, right):
        axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return to_png(figure)
