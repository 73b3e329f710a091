"""Snapshots of a world that cannot be copied: its seed, and all that was done since."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float32, UInt8


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


class World(Protocol):
    """A Box2D world with its goal and its looks; in some episode after the first ``begin``."""

    def begin(self, seed: int) -> None:
        """Build the world of an episode. The seed decides everything in it."""
        ...

    def advance(self, action: Float32[np.ndarray, " a"]) -> float:
        """Advance by one step; return the reward. Draws nothing that ``begin`` did not seed."""
        ...

    def picture(self) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the world as it is."""
        ...

    def observation(self) -> Float32[np.ndarray, " n"]:
        """Return the low-dimensional state."""
        ...


class ReplayedGame:
    """A world as a game that is scored by its return and never ends by itself.

    The benchmark lets the fallen and the crashed lie until the time limit.
    """

    def __init__(self, world: World, *, full_return: float) -> None:
        """Begin some episode.

        Args:
            world: What is played.
            full_return: Sum of rewards that scores 1.
        """
        self.world = world
        self._full_return = full_return
        self._begin(0)

    @property
    def state(self) -> Replay:
        """The episode so far; setting it repeats the episode."""
        return self._replay

    @state.setter
    def state(self, replay: Replay) -> None:
        replay.play(self.world.begin, self.world.advance)
        self._replay = replay

    def reset(self, rng: np.random.Generator) -> None:
        """Begin an episode of a drawn seed."""
        self._begin(draw_seed(rng))

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Advance by one step."""
        self._replay = self._replay.after(action)
        return self.world.advance(action)

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the world."""
        return self.world.picture()

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return what the world observes."""
        return self.world.observation()

    def score(self, total_reward: float) -> float:
        """Return the part of the full return."""
        return min(max(total_reward / self._full_return, 0.0), 1.0)

    def is_success(self) -> bool:
        """Return False: only returns count here."""
        return False

    def is_over(self) -> bool:
        """Return False: only the time limit ends an episode."""
        return False

    def _begin(self, seed: int) -> None:
        self.world.begin(seed)
        self._replay = Replay(seed)


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
