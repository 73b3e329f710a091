"""Is a probability worth its name, and a flag worth raising? Judged on other episodes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

from reverie.core.registry import require_extra
from reverie.evaluate.metrics import onsets
from reverie.hallucination.conformal import first_flags, lead_times

NUM_BINS = 15
"""Equal-count bins of the calibration error."""
SMALLEST_PROBABILITY = 1e-6
"""Probabilities are kept this far from 0 and 1 in the log loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """One bin of the reliability diagram."""

    count: int
    probability: float
    """Mean predicted."""
    rate: float
    """Share that really diverged."""
    low: float
    high: float
    """95 % Clopper-Pearson interval of the rate; steps of one dream are not independent, so the
    true interval is wider."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbabilityScore:
    """How good a probability is."""

    ece: float
    brier: float
    log_loss: float
    base_rate: float
    num_steps: int
    num_dropped: int
    bins: tuple[ReliabilityBin, ...]


def score_probability(
    probability: Float[np.ndarray, " n"], labels: Shaped[np.ndarray, " n"], num_bins: int = NUM_BINS
) -> ProbabilityScore:
    """Score probabilities against what happened; NaN on either side is dropped and counted.

    The calibration error is Σ (n_b / n)·|mean p − mean y| over bins of equal count.
    """
    kept = np.isfinite(probability) & np.isfinite(labels)
    p, y = probability[kept], np.asarray(labels[kept], dtype=np.float64)
    nothing = float("nan")
    if not p.size:
        return ProbabilityScore(
            ece=nothing,
            brier=nothing,
            log_loss=nothing,
            base_rate=nothing,
            num_steps=0,
            num_dropped=int((~kept).sum()),
            bins=(),
        )
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, num_bins) if len(part)]
    bins = tuple(_bin(p[part], y[part]) for part in parts)
    safe = np.clip(p, SMALLEST_PROBABILITY, 1.0 - SMALLEST_PROBABILITY)
    return ProbabilityScore(
        ece=sum(item.count * abs(item.probability - item.rate) for item in bins) / len(p),
        brier=float(np.mean((p - y) ** 2)),
        log_loss=float(-np.mean(y * np.log(safe) + (1.0 - y) * np.log(1.0 - safe))),
        base_rate=float(y.mean()),
        num_steps=len(p),
        num_dropped=int((~kept).sum()),
        bins=bins,
    )


def _bin(p: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> ReliabilityBin:
    low, high = clopper_pearson(int(y.sum()), len(y))
    return ReliabilityBin(
        count=len(p), probability=float(p.mean()), rate=float(y.mean()), low=low, high=high
    )


def clopper_pearson(
    num_hits: int, num_trials: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the exact interval of a rate (Clopper & Pearson 1934); (0, 1) without any trial."""
    beta = require_extra("scipy.stats", "eval", "compute exact intervals").beta
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if num_hits == 0 else beta.ppf(tail, num_hits, num_trials - num_hits + 1)
    high = (
        1.0 if num_hits == num_trials else beta.ppf(1.0 - tail, num_hits + 1, num_trials - num_hits)
    )
    return float(low), float(high)


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionScore:
    """What flags are worth in one group of dreams."""

    group: str
    num_good: int
    """Dreams that never diverged."""
    num_bad: int
    false_alarms: int
    false_alarm_rate: float
    false_alarm_interval: tuple[float, float]
    detected_in_time: int
    """Diverged dreams flagged before or at the onset."""
    detected: int
    """Diverged dreams flagged at all."""
    misses: int
    lead_median: float
    lead_quartiles: tuple[float, float]
    """In frames, over diverged dreams that were flagged at all; positive is early."""


def score_detection(
    group: str,
    probability: Float[np.ndarray, "n t"],
    threshold: Float[np.ndarray, " n"],
    has_diverged: Bool[np.ndarray, "n t"],
) -> DetectionScore:
    """Count false alarms, detections, misses and lead times of one group.

    Args:
        group: Name of a task or domain.
        probability: Per dream and step, latched or not: the first crossing counts.
        threshold: Of each dream; infinity never flags.
        has_diverged: Truth per step.
    """
    flags, onset = first_flags(probability, threshold), onsets(has_diverged)
    is_good, is_flagged = np.isnan(onset), ~np.isnan(flags)
    alarms, num_good = int((is_good & is_flagged).sum()), int(is_good.sum())
    lead = lead_times(onset, flags)
    lead = lead[np.isfinite(lead)]
    nothing = float("nan")
    return DetectionScore(
        group=group,
        num_good=num_good,
        num_bad=int((~is_good).sum()),
        false_alarms=alarms,
        false_alarm_rate=alarms / num_good if num_good else nothing,
        false_alarm_interval=clopper_pearson(alarms, num_good) if num_good else (0.0, 1.0),
        detected_in_time=int((lead >= 0).sum()),
        detected=len(lead),
        misses=int((~is_good & ~is_flagged).sum()),
        lead_median=float(np.median(lead)) if lead.size else nothing,
        lead_quartiles=(
            (float(np.quantile(lead, 0.25)), float(np.quantile(lead, 0.75)))
            if lead.size
            else (nothing, nothing)
        ),
    )


def score_groups(
    groups: Sequence[str],
    probability: Float[np.ndarray, "n t"],
    threshold: Float[np.ndarray, " n"],
    has_diverged: Bool[np.ndarray, "n t"],
) -> dict[str, DetectionScore]:
    """Score the flags of every group, and of all dreams together under ``*``."""
    names = np.asarray(groups)
    found = {"*": score_detection("*", probability, threshold, has_diverged)}
    for group in dict.fromkeys(groups):
        mine = names == group
        found[group] = score_detection(
            group, probability[mine], threshold[mine], has_diverged[mine]
        )
    return found


SETTLED_SHARE = 0.5
"""A diverged dream is settled if its last motion is below this share of its task's median."""


def is_settled(
    motion: Float[np.ndarray, "n t"],
    has_diverged: Bool[np.ndarray, "n t"],
    tasks: Sequence[str],
) -> Bool[np.ndarray, " n"]:
    """Tell which dreams end wrong and calm: diverged at the end, moving less than half as usual.

    These are the ones that published readings miss; their recall is reported apart.
    """
    names, last = np.asarray(tasks), motion[:, -4:].mean(axis=1)
    usual = np.empty(len(names))
    for task in dict.fromkeys(tasks):
        usual[names == task] = np.median(motion[names == task])
    return has_diverged[:, -1] & (last < SETTLED_SHARE * usual)
