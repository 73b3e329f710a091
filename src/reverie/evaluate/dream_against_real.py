"""Whether what a dream promises comes true: returns dreamed against returns earned."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reverie.core.errors import ConfigError

MIN_EPISODES = 100
"""With fewer, the mean of a return is too uncertain to report (specification, section 12)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RealScore:
    """Returns of one controller in the simulator."""

    mean: float
    std: float
    low: float
    """Lower end of the 95 % interval of the mean."""
    high: float
    num_episodes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Correlation:
    """Dreamed against real returns of several controllers."""

    pearson: float | None
    """None where one side never varies: then nothing can be said."""
    spearman: float | None
    num_pairs: int


def score_returns(returns: Sequence[float], *, min_episodes: int = MIN_EPISODES) -> RealScore:
    """Summarise returns.

    Raises:
        ConfigError: There are fewer than ``min_episodes``.
    """
    if len(returns) < max(2, min_episodes):
        raise ConfigError(
            f"A score needs at least {max(2, min_episodes)} episodes, got {len(returns)}. Play "
            f"more."
        )
    values = np.asarray(returns, dtype=np.float64)
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    mean = float(values.mean())
    return RealScore(
        mean=mean,
        std=float(values.std(ddof=1)),
        low=mean - float(half),
        high=mean + float(half),
        num_episodes=len(values),
    )


def correlate(dreamed: Sequence[float], real: Sequence[float]) -> Correlation:
    """Correlate pairs (dream return, real return)."""
    ours, theirs = np.asarray(dreamed, np.float64), np.asarray(real, np.float64)
    return Correlation(
        pearson=_pearson(ours, theirs),
        spearman=_pearson(_ranks(ours), _ranks(theirs)),
        num_pairs=len(ours),
    )


def _pearson(ours: np.ndarray, theirs: np.ndarray) -> float | None:
    if len(ours) < 3 or ours.std() < 1e-9 or theirs.std() < 1e-9:
        return None
    return float(np.corrcoef(ours, theirs)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    # Equal values share their mean rank.
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[inverse]
