"""Means and intervals over runs and tasks (the formulas of rliable, arXiv 2108.13264)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A difference between two ways, paired by seed."""

    mean: float
    low: float
    high: float
    """Ends of the 95 % bootstrap interval of the mean."""

    @property
    def excludes_zero(self) -> bool:
        """True where the whole interval lies on one side of zero."""
        return self.low > 0.0 or self.high < 0.0


def paired_difference(
    first: Float[np.ndarray, "tasks seeds"],
    second: Float[np.ndarray, "tasks seeds"],
    *,
    rng: np.random.Generator,
    num_draws: int = NUM_DRAWS,
) -> Difference:
    """Compare two ways that share their seeds: the mean of ``first - second``, with interval.

    Seeds are drawn again inside each task. With one seed a task nothing can be said of its spread:
    the interval is not-a-number.
    """
    differences = first - second
    if differences.shape[1] < 2:
        return Difference(mean=float(differences.mean()), low=float("nan"), high=float("nan"))
    low, high = stratified_bootstrap(
        differences, lambda drawn: float(drawn.mean()), rng=rng, num_draws=num_draws
    )
    return Difference(mean=float(differences.mean()), low=low, high=high)


def bootstrap_grouped(
    values: Float[np.ndarray, "columns n"],
    groups: Sequence[str],
    statistic: Callable[[Float[np.ndarray, "columns m"]], float],
    *,
    rng: np.random.Generator,
    num_draws: int = NUM_DRAWS,
) -> tuple[float, float]:
    """Return a percentile interval of a clip-level statistic: draw tasks, then clips of each.

    Draws whose statistic is undefined are left out; with fewer than two groups the interval is
    not-a-number, because nothing is known of the spread over tasks.
    """
    names = np.asarray(groups)
    members = [np.flatnonzero(names == name) for name in dict.fromkeys(groups)]
    if len(members) < 2:
        return float("nan"), float("nan")
    draws: list[float] = []
    for _ in range(num_draws):
        chosen = rng.integers(0, len(members), len(members))
        rows = [
            members[group][rng.integers(0, len(members[group]), len(members[group]))]
            for group in chosen
        ]
        draws.append(statistic(values[:, np.concatenate(rows)]))
    finite = np.array([draw for draw in draws if np.isfinite(draw)])
    return _interval(finite) if finite.size else (float("nan"), float("nan"))


def bootstrap_mean(
    values: Float[np.ndarray, " n"], *, rng: np.random.Generator, num_draws: int = NUM_DRAWS
) -> tuple[float, float]:
    """Return a percentile interval of the mean; values that are not finite are left out."""
    finite = values[np.isfinite(values)]
    if finite.size < 2:
        return float("nan"), float("nan")
    drawn = finite[rng.integers(0, finite.size, (num_draws, finite.size))]
    return _interval(drawn.mean(axis=1))


Pooled = Callable[[Float[np.ndarray, "*d k"]], Float[np.ndarray, "*d"]]
"""Sums of k columns, along the last axis, to one number each."""


def draw_pooled(
    units: Float[np.ndarray, "n k"],
    statistic: Pooled,
    *,
    rng: np.random.Generator,
    num_draws: int = NUM_DRAWS,
) -> Float[np.ndarray, " d"]:
    """Draw a statistic of pooled sums again and again, each time from other units.

    The same generator and the same number of units give the same choices: what is drawn so may be
    subtracted draw by draw, as a pair. One unit says nothing of the spread: not-a-number.

    Args:
        units: What belongs together, such as the sums of one episode each.
        statistic: Of their sum.
        rng: Chooses the units.
        num_draws: How often.
    """
    if len(units) < 2:
        return np.full(num_draws, np.nan)
    chosen = rng.integers(0, len(units), (num_draws, len(units)))
    return statistic(units[chosen].sum(axis=1))


def draw_task_mean(
    draws: Sequence[Float[np.ndarray, " d"]], *, rng: np.random.Generator
) -> Float[np.ndarray, " d"]:
    """Draw the mean over tasks: tasks are drawn again, and in each what ``draw_pooled`` drew.

    Draws of a task that are not finite are left out of the mean.
    """
    table = np.stack(list(draws))
    num_tasks, num_draws = table.shape
    tasks = rng.integers(0, num_tasks, (num_draws, num_tasks))
    # A task that is drawn twice brings two draws of its own.
    picked = table[tasks, rng.integers(0, num_draws, (num_draws, num_tasks))]
    finite = np.isfinite(picked)
    count = finite.sum(axis=1)
    total = np.where(finite, picked, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def interval_of(draws: Float[np.ndarray, " d"]) -> tuple[float, float]:
    """Return the percentile interval of bootstrap draws; those that are not finite are left out."""
    finite = draws[np.isfinite(draws)]
    return _interval(finite) if finite.size > 1 else (float("nan"), float("nan"))


def _interval(draws: Float[np.ndarray, " n"]) -> tuple[float, float]:
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(draws, (tail, 1.0 - tail))
    return float(low), float(high)
