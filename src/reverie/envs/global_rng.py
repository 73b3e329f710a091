"""A fence around packages that draw from NumPy's global generator."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

NUM_SEEDS = 2**32
"""The global generator takes seeds below this."""


@contextmanager
def seeded_global_rng(seed: int) -> Iterator[None]:
    """Seed the global generator inside the block and put its own state back afterwards.

    Only for foreign code that cannot be given a generator; nothing of ours draws from it.
    """
    kept = np.random.get_state()
    np.random.seed(seed % NUM_SEEDS)
    try:
        yield
    finally:
        np.random.set_state(kept)
