"""Means and intervals over runs and tasks (the formulas of rliable, arXiv 2108.13264)."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

TRIMMED_SHARE = 0.25
"""Cut from each end by the interquartile mean."""
NUM_DRAWS = 2000
CONFIDENCE = 0.95


def interquartile_mean(values: Float[np.ndarray, "*any"]) -> float:
    """Return the mean after cutting a quarter of all values from each end."""
    ordered = np.sort(values, axis=None)
    cut = int(TRIMMED_SHARE * ordered.size)
    return float(ordered[cut : ordered.size - cut].mean())


def probability_of_improvement(
    first: Float[np.ndarray, " x"], second: Float[np.ndarray, " y"]
) -> float:
    """Return the chance that a run of ``first`` beats one of ``second``; equal ones count half."""
    difference = first[:, None] - second[None, :]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def stratified_bootstrap(
    values: Float[np.ndarray, "tasks seeds"],
    statistic: Callable[[Float[np.ndarray, "tasks seeds"]], float],
    *,
    rng: np.random.Generator,
    num_draws: int = NUM_DRAWS,
) -> tuple[float, float]:
    """Return a percentile interval of a statistic, with the seeds of each task drawn again."""
    num_tasks, num_seeds = values.shape
    draws = [
        statistic(
            np.take_along_axis(values, rng.integers(0, num_seeds, (num_tasks, num_seeds)), axis=1)
        )
        for _ in range(num_draws)
    ]
    return _interval(np.array(draws))


def bootstrap_mean(
    values: Float[np.ndarray, " n"], *, rng: np.random.Generator, num_draws: int = NUM_DRAWS
) -> tuple[float, float]:
    """Return a percentile interval of the mean; values that are not finite are left out."""
    finite = values[np.isfinite(values)]
    if finite.size < 2:
        return float("nan"), float("nan")
    drawn = finite[rng.integers(0, finite.size, (num_draws, finite.size))]
    return _interval(drawn.mean(axis=1))


def _interval(draws: Float[np.ndarray, " n"]) -> tuple[float, float]:
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(draws, (tail, 1.0 - tail))
    return float(low), float(high)
