"""How well a reading tells good dreams from bad ones: pooled, and within tasks.

Pooled numbers mostly say which task a clip is from; that is why five numbers always go together.
Readings that are not finite are dropped and counted, never replaced.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Shaped

MIN_CLIPS = 12
"""Fewer finite clips give a task no number of its own."""
MIN_BASE_RATE = 0.1
"""A task enters the within-task AUROC if between this share and the rest of its clips diverge."""

Statistic = Callable[[Float[np.ndarray, " n"], Float[np.ndarray, " n"]], float]


def mid_ranks(values: Shaped[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[inverse.reshape(-1)]


def auroc(readings: Shaped[np.ndarray, " n"], labels: Shaped[np.ndarray, " n"]) -> float:
    """Return the chance that a positive clip reads higher than a negative one; ties count half.

    NaN if, among finite readings, there is one class only.
    """
    kept = np.isfinite(readings) & np.isfinite(labels)
    values, positive = readings[kept], labels[kept] > 0
    num_positive = int(positive.sum())
    num_negative = len(values) - num_positive
    if not num_positive or not num_negative:
        return float("nan")
    above = mid_ranks(values)[positive].sum() - num_positive * (num_positive + 1) / 2
    return float(above / (num_positive * num_negative))


def spearman(first: Shaped[np.ndarray, " n"], second: Shaped[np.ndarray, " n"]) -> float:
    """Return the rank correlation with mid-ranks; NaN with fewer than 2 pairs or a constant."""
    kept = np.isfinite(first) & np.isfinite(second)
    if kept.sum() < 2:
        return float("nan")
    ranks = [mid_ranks(values[kept]) for values in (first, second)]
    centred = [values - values.mean() for values in ranks]
    size = float(np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    return float((centred[0] * centred[1]).sum() / size) if size else float("nan")


@dataclass(frozen=True, kw_only=True, slots=True)
class FiveNumbers:
    """One statistic of one reading, seen in the ways that must be shown together."""

    pooled: float
    within_mean: float
    """Unweighted mean over tasks with enough clips."""
    within_median: float
    wrong_sign_share: float
    """Share of those tasks where the reading points the wrong way."""
    num_tasks_within: int
    between: float
    """On the medians of tasks."""
    on_task_ranks: float
    """Pooled, after ranking within each task."""
    task_identity: float
    """What knowing only the task gives: the mean outcome of the task's other clips."""
    num_clips: int
    num_dropped: int
    """Clips without a finite reading or outcome."""
    by_task: Mapping[str, float] = field(default_factory=dict)
    """The value of every task that has one of its own."""


def spearman_numbers(
    readings: Float[np.ndarray, " n"],
    gains: Float[np.ndarray, " n"],
    tasks: Sequence[str],
    min_clips: int = MIN_CLIPS,
) -> FiveNumbers:
    """Correlate a reading with the rollout gain; a good predictor is negative."""
    kept = np.isfinite(readings) & np.isfinite(gains)
    names = np.asarray(tasks)[kept]
    values, outcome = readings[kept], gains[kept]
    by_name = {name: names == name for name in dict.fromkeys(names.tolist())}
    groups = list(by_name.values())
    within = {
        name: spearman(values[group], outcome[group])
        for name, group in by_name.items()
        if group.sum() >= min_clips
    }
    medians = [[float(np.median(x[group])) for group in groups] for x in (values, outcome)]
    ranks = [_task_ranks(x, groups) for x in (values, outcome)]
    others = _mean_of_others(outcome, groups)
    return _five(
        within,
        is_wrong=lambda value: value > 0,
        pooled=spearman(values, outcome),
        between=spearman(np.array(medians[0]), np.array(medians[1])),
        on_task_ranks=spearman(ranks[0], ranks[1]),
        task_identity=spearman(others, outcome),
        kept=kept,
    )


def auroc_numbers(
    readings: Float[np.ndarray, " n"],
    labels: Shaped[np.ndarray, " n"],
    outcomes: Float[np.ndarray, " n"],
    tasks: Sequence[str],
    min_clips: int = MIN_CLIPS,
) -> FiveNumbers:
    """Tell positive from negative clips by a reading; a good predictor is near 1.

    Args:
        readings: One a clip.
        labels: 1 where something went wrong.
        outcomes: What the labels were cut from, larger is better; the task-identity baseline
            predicts with the mean outcome of the task's other clips.
        tasks: Task of each clip.
        min_clips: Fewest clips that give a task its own number.
    """
    kept = np.isfinite(readings) & np.isfinite(outcomes)
    names = np.asarray(tasks)[kept]
    values, positive, outcome = readings[kept], np.asarray(labels)[kept] > 0, outcomes[kept]
    by_name = {name: names == name for name in dict.fromkeys(names.tolist())}
    groups = list(by_name.values())
    within = {
        name: auroc(values[group], positive[group])
        for name, group in by_name.items()
        if group.sum() >= min_clips and _is_mixed(positive[group])
    }
    medians = np.array([np.median(values[group]) for group in groups])
    mostly = np.array([positive[group].mean() > 0.5 for group in groups])
    return _five(
        within,
        is_wrong=lambda value: value < 0.5,
        pooled=auroc(values, positive),
        between=auroc(medians, mostly),
        on_task_ranks=auroc(_task_ranks(values, groups), positive),
        task_identity=auroc(-_mean_of_others(outcome, groups), positive),
        kept=kept,
    )


def _is_mixed(positive: Shaped[np.ndarray, " n"]) -> bool:
    # In counts: a share of exactly 10 % must not be lost to rounding.
    fewer = min(int(positive.sum()), int((~positive).sum()))
    return fewer >= MIN_BASE_RATE * len(positive) - 1e-9


def _five(
    within: Mapping[str, float],
    *,
    is_wrong: Callable[[float], bool],
    kept: Shaped[np.ndarray, " n"],
    **numbers: float,
) -> FiveNumbers:
    by_task = {name: value for name, value in within.items() if np.isfinite(value)}
    finite = list(by_task.values())
    nothing = float("nan")
    return FiveNumbers(
        within_mean=float(np.mean(finite)) if finite else nothing,
        within_median=float(np.median(finite)) if finite else nothing,
        wrong_sign_share=float(np.mean([is_wrong(v) for v in finite])) if finite else nothing,
        num_tasks_within=len(finite),
        num_clips=int(kept.sum()),
        num_dropped=int((~kept).sum()),
        by_task=by_task,
        **numbers,
    )


def _task_ranks(
    values: Float[np.ndarray, " n"], groups: Sequence[Shaped[np.ndarray, " n"]]
) -> Float[np.ndarray, " n"]:
    ranks = np.zeros(len(values))
    for group in groups:
        # In (0, 1), so that tasks with many clips do not stand above those with few.
        ranks[group] = (mid_ranks(values[group]) - 0.5) / group.sum()
    return ranks


def _mean_of_others(
    outcome: Float[np.ndarray, " n"], groups: Sequence[Shaped[np.ndarray, " n"]]
) -> Float[np.ndarray, " n"]:
    others = np.full(len(outcome), np.nan)
    for group in groups:
        count = int(group.sum())
        if count > 1:
            others[group] = (outcome[group].sum() - outcome[group]) / (count - 1)
    return others
