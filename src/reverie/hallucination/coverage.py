"""What training should see more often, and where in a task it has seen anything at all.

Weights are a plain JSON file that every training run takes (``data.sampling.read_weights``): the
share of draws each task or each episode gets. Sampling has no variance to pay for; weighting the
loss instead has (``data.balance``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from reverie.core.errors import ConfigError
from reverie.core.files import write_json
from reverie.core.registry import unknown_name_message
from reverie.hallucination.novelty import density_weights

TARGET_SHARE = 0.5
"""Share of draws that targeted tasks get together (arXiv 2606.27326)."""
NUM_CELLS = 32
"""Cells along each axis of a coverage map."""
MIN_VISITS = 5
"""Cells with fewer visits say nothing of a mean reading."""


def uniform_weights(tasks: Sequence[str]) -> dict[str, float]:
    """Give every task the same share, however many frames it has."""
    return {task: 1.0 / len(tasks) for task in tasks}


def targeted_weights(
    tasks: Sequence[str], targeted: Sequence[str], alpha: float = TARGET_SHARE
) -> dict[str, float]:
    """Give targeted tasks ``alpha`` of all draws, the others the rest, uniformly on each side.

    If one side is empty, all tasks are drawn alike.

    Raises:
        ConfigError: A targeted task is not among the tasks, or ``alpha`` is no share.
    """
    if not 0.0 < alpha < 1.0:
        raise ConfigError(f"alpha is the share of the targeted tasks, got {alpha}. Try 0.5.")
    for name in targeted:
        if name not in tasks:
            hint = f"The data has: {', '.join(tasks)}"
            raise ConfigError(unknown_name_message("task", name, tuple(tasks), hint))
    chosen = set(targeted)
    others = [task for task in tasks if task not in chosen]
    if not chosen or not others:
        return uniform_weights(tasks)
    return {
        task: alpha / len(chosen) if task in chosen else (1.0 - alpha) / len(others)
        for task in tasks
    }


def novelty_weights(
    episodes: Mapping[str, Sequence[str]], distances: Mapping[str, float]
) -> dict[str, float]:
    """Give every task the same share and, inside it, rare episodes more than common ones.

    Inside a task the weight is ∝ 1 / density^½, capped at ten times the median.

    Args:
        episodes: Task to the ids of its episodes.
        distances: Episode id to the mean distance of its frames to known ones.
    """
    weights: dict[str, float] = {}
    for ids in episodes.values():
        inside = density_weights(np.array([distances[name] for name in ids]))
        shares = inside / inside.sum() / len(episodes)
        weights.update(zip(ids, shares.tolist(), strict=True))
    return weights


def write_weights(path: Path, kind: str, weights: Mapping[str, float]) -> None:
    """Write a weights file for tasks or episodes.

    Args:
        path: JSON.
        kind: ``task`` or ``episode``.
        weights: Name to weight; what is left out is never drawn.
    """
    write_json(path, {"kind": kind, "weights": dict(weights)})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CoverageMap:
    """Visits and mean readings over a plane, cell by cell."""

    visits: Int64[np.ndarray, "r c"]
    reading: Float[np.ndarray, "r c"]
    """Mean reading of a cell, NaN below ``MIN_VISITS`` visits of the readings."""
    error: Float[np.ndarray, "r c"]
    x_edges: Float[np.ndarray, " e"]
    y_edges: Float[np.ndarray, " e"]

    @property
    def pairs(self) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """Log visits and mean reading of the cells that have both; what is correlated."""
        both = np.isfinite(self.reading)
        return np.log1p(self.visits[both].astype(np.float64)), self.reading[both]


def principal_axes(vectors: Float[np.ndarray, "n w"]) -> Float[np.ndarray, "w 2"]:
    """Return the two leading principal axes of some vectors (their mean is taken off first)."""
    centred = vectors - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    return axes[:2].T


def coverage_map(
    known: Float[np.ndarray, "n 2"],
    tested: Float[np.ndarray, "m 2"],
    readings: Float[np.ndarray, " m"],
    errors: Float[np.ndarray, " m"],
    *,
    num_cells: int = NUM_CELLS,
) -> CoverageMap:
    """Count where known frames lie, and average readings and errors where tested ones do.

    Args:
        known: Places of frames that the model was trained on.
        tested: Places of dreamed frames.
        readings: One a dreamed frame.
        errors: One a dreamed frame.
        num_cells: Along each axis; both maps share their axes.
    """
    both = np.concatenate([known, tested])
    span = [
        (float(low), float(high) if high > low else float(low) + 1.0)
        for low, high in zip(both.min(axis=0), both.max(axis=0), strict=True)
    ]
    bins = [np.linspace(low, high, num_cells + 1) for low, high in span]
    visits, counts = (np.histogramdd(points, bins=bins)[0] for points in (known, tested))
    means = []
    for values in (readings, errors):
        sums, _ = np.histogramdd(tested, bins=bins, weights=values)
        enough = counts >= MIN_VISITS
        means.append(np.where(enough, sums / np.maximum(counts, 1), np.nan))
    return CoverageMap(
        visits=visits.astype(np.int64),
        reading=means[0],
        error=means[1],
        x_edges=bins[0],
        y_edges=bins[1],
    )


def visited_cells(
    groups: Sequence[Float[np.ndarray, "_ w"]], *, num_cells: int = NUM_CELLS
) -> list[set[tuple[int, ...]]]:
    """Return the cells that each group of latents visits, on the principal plane of them all.

    Args:
        groups: Latents of frames, one row each.
        num_cells: Along each axis, from the outermost frame to the opposite one.
    """
    joined = np.concatenate(groups)
    placed = (joined - joined.mean(axis=0)) @ principal_axes(joined)
    low, high = placed.min(axis=0), placed.max(axis=0)
    width = np.where(high > low, (high - low) / num_cells, 1.0)
    cells = np.floor((placed - low) / width).astype(np.int64).clip(0, num_cells - 1)
    ends = np.cumsum([len(group) for group in groups])[:-1]
    return [{tuple(cell) for cell in part.tolist()} for part in np.split(cells, ends)]


def new_cell_share(
    earlier: Float[np.ndarray, "n w"],
    later: Float[np.ndarray, "m w"],
    *,
    num_cells: int = NUM_CELLS,
) -> float:
    """Return how many cells only ``later`` visits, as a share of those that ``earlier`` visits."""
    before, after = visited_cells([earlier, later], num_cells=num_cells)
    return len(after - before) / max(len(before), 1)
