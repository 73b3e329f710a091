"""Watched dreams that are made up, with faults that one reading announces."""

import numpy as np

from reverie.evaluate.watched import WatchedDreams, join_watched
from reverie.hallucination.watch import NUM_TWINS, SIGNALS

TASKS = ("easy", "hard", "noisy")
HORIZON = 24


def make_dreams(seed: int, *, rows: int = 80, tasks: tuple[str, ...] = TASKS) -> WatchedDreams:
    """Dreams whose error is announced by u_s some steps before, each task on its own level."""
    return join_watched([_make_task(seed, task, rows) for task in tasks])


def _make_task(seed: int, task: str, rows: int) -> WatchedDreams:
    rng = np.random.default_rng([seed, TASKS.index(task)])
    steps = np.arange(1, HORIZON + 1)
    onset = rng.integers(6, 60, rows)
    level = rng.lognormal(0.0, 0.15, (rows, HORIZON)) * (1 + 0.2 * TASKS.index(task))
    still = np.full((rows, HORIZON), 0.01)
    dream = np.where(steps >= onset[:, None], 0.05, 0.002)
    announced = np.where(steps >= onset[:, None] - 6, 6.0, 1.0)
    signals = {name: rng.lognormal(0.0, 0.1, (rows, HORIZON)) for name in SIGNALS}
    signals["u_s"] = level * announced
    signals["step"] = np.broadcast_to(steps.astype(float), (rows, HORIZON)).copy()
    return WatchedDreams(
        task=(task,) * rows,
        episode=np.arange(rows) // 2,
        signals=signals,
        dream=dream,
        still=still,
        decoded_still=still,
        ceiling=np.full((rows, HORIZON), 0.001),
        actions=rng.uniform(-1, 1, (rows, HORIZON, 2)).astype(np.float32),
        dreamed=rng.normal(size=(rows, HORIZON, 2, 3)).astype(np.float32),
        twins=rng.normal(size=(rows, HORIZON, NUM_TWINS, 2, 3)).astype(np.float16),
        true=rng.normal(size=(rows, HORIZON + 8, 2, 3)).astype(np.float32),
    )
