"""Coverage maps beside hallucination maps: are readings high where a task was seldom visited?"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from reverie.evaluate.discrimination import spearman
from reverie.evaluate.evaluation import TaskEvaluation
from reverie.evaluate.metrics import MIN_MSE
from reverie.evaluate.plots import panels, to_png
from reverie.evaluate.watched import WatchedDreams
from reverie.hallucination.coverage import CoverageMap, coverage_map, principal_axes

FRAMES_PER_CELL = 8
"""Dreamed frames per cell, on average: with fewer, hardly a cell has a mean."""
MAX_CELLS = 32
MAX_TASKS = 6
"""Tasks that are drawn; the numbers are given for all."""


def map_tasks(
    known: WatchedDreams, tested: WatchedDreams, reading: str = "u_r"
) -> dict[str, CoverageMap]:
    """Map every task on the two leading principal axes of its own real latents.

    Args:
        known: Its true frames count as visited.
        tested: Its dreamed frames carry readings and errors.
        reading: Signal that is averaged per cell.
    """
    found: dict[str, CoverageMap] = {}
    names = np.asarray(known.task), np.asarray(tested.task)
    for task in dict.fromkeys(tested.task):
        mine = [known.select(np.flatnonzero(names[0] == task))]
        mine.append(tested.select(np.flatnonzero(names[1] == task)))
        if not mine[0].num_rows:
            continue
        found[task] = _map_task(
            flat_latents(mine[0].true),
            flat_latents(mine[1].dreamed),
            mine[1].signals[reading],
            mine[1].dream,
        )
    return found


def map_evaluations(
    tasks: Sequence[TaskEvaluation],
    visited: Mapping[str, Float[np.ndarray, "n w"]] | None = None,
    reading: str = "u_r",
) -> dict[str, CoverageMap]:
    """Map every evaluated task on the principal axes of its visited frames.

    Args:
        tasks: Their dreamed frames carry readings and errors; without dreams a task has no map.
        visited: Task to latents of the frames that count as visited; of tasks that are not there,
            and by default, the real frames of the very clips.
        reading: Raw reading that is averaged per cell.
    """
    found: dict[str, CoverageMap] = {}
    for task in tasks:
        rollout = task.rollout
        if rollout.latents is None or reading not in rollout.readings:
            continue
        known = (visited or {}).get(task.task)
        if known is None:
            known = flat_latents(task.reconstruction.latents.float().cpu().numpy())
        found[task.task] = _map_task(
            known, flat_latents(rollout.latents), rollout.readings[reading], rollout.dream
        )
    return found


def _map_task(
    known: Float[np.ndarray, "n w"],
    dreamed: Float[np.ndarray, "m w"],
    readings: Float[np.ndarray, "b t"],
    errors: Float[np.ndarray, "b t"],
) -> CoverageMap:
    axes, centre = principal_axes(known), known.mean(axis=0)
    cells = int(np.sqrt(len(dreamed) / FRAMES_PER_CELL))
    return coverage_map(
        (known - centre) @ axes,
        (dreamed - centre) @ axes,
        readings.reshape(-1),
        errors.reshape(-1),
        num_cells=int(np.clip(cells, 2, MAX_CELLS)),
    )


def flat_latents(latents: Float[np.ndarray, "b t n d"]) -> Float[np.ndarray, "m w"]:
    """Return one row of numbers for every frame."""
    return latents.reshape(latents.shape[0] * latents.shape[1], -1).astype(np.float64)


def coverage_correlations(maps: Mapping[str, CoverageMap]) -> dict[str, float]:
    """Return, per task, Spearman over cells of log visits and mean reading.

    Negative: readings are high where few real frames lie. NaN with too few cells.
    """
    return {task: spearman(*item.pairs) for task, item in maps.items()}


def draw_maps(maps: Mapping[str, CoverageMap]) -> bytes:
    """Draw visits, mean reading and mean error of some tasks side by side; unknown cells stay grey.

    Raises:
        ValueError: There is no map.
    """
    shown = dict(list(maps.items())[:MAX_TASKS])
    figure, axes = panels(3, len(shown), height=6.2)
    grid = np.asarray(axes).reshape(3, len(shown))
    correlations = coverage_correlations(shown)
    for column, (task, item) in enumerate(shown.items()):
        layers = (
            (np.where(item.visits > 0, np.log1p(item.visits), np.nan), "log visits"),
            (item.reading, "mean u_r"),
            (np.log10(np.maximum(item.error, MIN_MSE)), "log error"),
        )
        for row, (values, title) in enumerate(layers):
            axis = grid[row][column]
            axis.set_facecolor("#d9d9d9")
            axis.pcolormesh(item.x_edges, item.y_edges, values.T, cmap="viridis")
            axis.set_xticks([])
            axis.set_yticks([])
            if column == 0:
                axis.set_ylabel(title)
        rho = correlations[task]
        text = "–" if np.isnan(rho) else f"{rho:+.2f}"
        grid[0][column].set_title(f"{task.removeprefix('pygame-')}: ρ {text}")
    return to_png(figure)
