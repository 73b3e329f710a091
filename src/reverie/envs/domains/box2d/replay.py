"""Snapshots of a world that cannot be copied: its seed, and all that was done since."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True, slots=True)
class Replay:
    """An episode from its seed to now.

    Box2D keeps its contacts to itself; repeating the episode is the only exact way back.
    """

    seed: int
    actions: tuple[tuple[float, ...], ...] = ()

    def after(self, action: Float32[np.ndarray, " a"]) -> "Replay":
        """Return the same episode one step later."""
        return Replay(self.seed, (*self.actions, tuple(action.tolist())))

    def play(
        self,
        begin: Callable[[int], None],
        advance: Callable[[Float32[np.ndarray, " a"]], object],
    ) -> None:
        """Repeat the episode."""
        begin(self.seed)
        for action in self.actions:
            advance(np.array(action, dtype=np.float32))


def draw_seed(rng: np.random.Generator) -> int:
    """Draw the seed of a simulator that owns its randomness."""
    return int(rng.integers(2**31))


def jittered(
    color: Sequence[int], rng: np.random.Generator, *, common: int, each: int
) -> tuple[int, int, int]:
    """Shift a colour by a common draw and by one per channel, both in [-n, n)."""
    shift = rng.integers(-common, common) + rng.integers(-each, each, size=3)
    red, green, blue = (int(value) for value in np.clip(np.array(color) + shift, 0, 255))
    return red, green, blue
