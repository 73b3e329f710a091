"""Thresholds with a stated false-alarm rate (split conformal prediction, Vovk et al. 2005)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int64

from reverie.core.errors import ConfigError

NEVER = math.inf
"""The threshold that no probability is above: too few good dreams for the rate asked."""
POOLED = "*"
"""Name of the threshold over all groups."""


def conformal_quantile(scores: Float[np.ndarray, " n"], alpha: float) -> float:
    """Return the threshold that a new exchangeable score exceeds with probability ≤ ``alpha``.

    The k-th smallest with k = ⌈(n + 1)(1 − alpha)⌉; infinite where k > n.

    Args:
        scores: Largest probability of each dream that did not diverge.
        alpha: False-alarm rate, in (0, 1).

    Raises:
        ConfigError: ``alpha`` is no rate.
    """
    if not 0.0 < alpha < 1.0:
        raise ConfigError(f"A false-alarm rate lies between 0 and 1, got {alpha}. Try 0.05.")
    # Without the small step back, 0.95 * 20 would round up to 20.
    rank = math.ceil((len(scores) + 1) * (1.0 - alpha) - 1e-9)
    return NEVER if rank > len(scores) else float(np.sort(scores)[rank - 1])


def smallest_group(alpha: float) -> int:
    """Return how many good dreams a group needs for a threshold of its own: 1 / alpha − 1."""
    return math.ceil(1.0 / alpha - 1.0 - 1e-9)


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupThreshold:
    """A threshold and what it rests on."""

    value: float | None
    """None means that nothing is ever flagged."""
    num_good: int
    """Dreams that did not diverge, over which it was taken."""
    is_fallback: bool
    """True where the group was too small and the pooled threshold stands in."""

    def flags(self, probability: float) -> bool:
        """Tell whether a probability is above the threshold; not-a-number is always flagged."""
        if math.isnan(probability):
            return True
        return self.value is not None and probability > self.value


def mondrian(
    scores: Float[np.ndarray, " n"], groups: Sequence[str], alpha: float
) -> dict[str, GroupThreshold]:
    """Fit one threshold per group, and a pooled one under the name ``POOLED``.

    Args:
        scores: Largest probability of each good dream.
        groups: Group of each.
        alpha: False-alarm rate.
    """
    pooled = _threshold(scores, alpha)
    found = {POOLED: pooled}
    names = np.asarray(groups)
    for group in dict.fromkeys(groups):
        mine = scores[names == group]
        if len(mine) >= smallest_group(alpha):
            found[group] = _threshold(mine, alpha)
        else:
            found[group] = GroupThreshold(value=pooled.value, num_good=len(mine), is_fallback=True)
    return found


def _threshold(scores: Float[np.ndarray, " n"], alpha: float) -> GroupThreshold:
    value = conformal_quantile(scores, alpha)
    return GroupThreshold(
        value=None if value == NEVER else value, num_good=len(scores), is_fallback=False
    )


def find_threshold(thresholds: Mapping[str, GroupThreshold], group: str) -> GroupThreshold:
    """Return a group's threshold; one that was not seen when fitting gets the pooled one."""
    if group in thresholds:
        return thresholds[group]
    return replace(thresholds[POOLED], num_good=0, is_fallback=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveLevel:
    """Online correction of the rate where truth arrives later (Gibbs & Candès 2021, ACI).

    A value: ``update`` returns the next one. The recursion is never clamped, only its use.
    """

    target: float
    """False-alarm rate asked."""
    rate: float = 0.005
    """γ, how fast the level reacts."""
    level: float | None = None
    """α_t; begins at the target."""

    @property
    def alpha(self) -> float:
        """The present level, maybe outside (0, 1)."""
        return self.target if self.level is None else self.level

    def update(self, was_false_alarm: bool) -> "AdaptiveLevel":
        """Learn whether a good dream was flagged at the present level."""
        error = 1.0 if was_false_alarm else 0.0
        return replace(self, level=self.alpha + self.rate * (self.target - error))

    def threshold(self, scores: Float[np.ndarray, " n"]) -> float:
        """Return the threshold at the present level over a sliding set of good dreams' scores."""
        if self.alpha <= 0.0:
            return NEVER
        if self.alpha >= 1.0:
            return -NEVER
        return conformal_quantile(scores, self.alpha)


def latch(
    probability: Float[np.ndarray, "n t"], is_grounded: Bool[np.ndarray, "n t"] | None = None
) -> Float[np.ndarray, "n t"]:
    """Hold the largest probability until a real frame grounds the dream again.

    The remedy for dreams that settle after they went wrong.

    Args:
        probability: Per step.
        is_grounded: True at steps that begin from a real frame; None means never.
    """
    if is_grounded is None:
        return np.maximum.accumulate(probability, axis=1)
    held = probability.copy()
    for step in range(1, probability.shape[1]):
        carried = np.where(is_grounded[:, step], -np.inf, held[:, step - 1])
        held[:, step] = np.maximum(probability[:, step], carried)
    return held


def first_flags(
    probability: Float[np.ndarray, "n t"], threshold: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Return the first step, counted from 1, above each dream's threshold; NaN where none is."""
    above = (probability > threshold[:, None]) | np.isnan(probability)
    return np.where(above.any(axis=1), above.argmax(axis=1) + 1.0, np.nan)


def lead_times(
    onset: Float[np.ndarray, " n"], flag: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Return onset − first flag; positive is early, NaN where either never came."""
    return onset - flag


def deal_folds(
    episodes: Int64[np.ndarray, " n"], num_folds: int, rng: np.random.Generator
) -> Int64[np.ndarray, " n"]:
    """Return the fold of every dream; dreams of one episode are alike and share theirs.

    One that is seen on two sides would flatter the map.
    """
    unique, place = np.unique(episodes, return_inverse=True)
    return (rng.permutation(len(unique)) % num_folds)[place.reshape(-1)]
