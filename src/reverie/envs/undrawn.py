"""A task without its pictures: for measuring and planning, where they are nearly the whole cost."""

from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from reverie.core.types import FrameSpec
from reverie.envs.api import TaskEnv
from reverie.envs.game_env import GameEnv, Simulation

_BLANK = np.zeros((1, 1, 3), dtype=np.uint8)


class UndrawnGame:
    """A foreign simulator that draws a black pixel instead of itself."""

    def __init__(self, game: Simulation) -> None:
        """Wrap a simulator."""
        self._game = game

    @property
    def state(self) -> Any:
        """Everything that changes during an episode."""
        return self._game.state

    @state.setter
    def state(self, state: Any) -> None:
        self._game.state = state

    def reset(self, rng: np.random.Generator) -> None:
        """Start an episode."""
        self._game.reset(rng)

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Advance by one step."""
        return self._game.step(action, rng)

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Return the black pixel."""
        return _BLANK

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return the low-dimensional state."""
        return self._game.state_vector()

    def score(self, total_reward: float) -> float:
        """Return the normalised outcome so far."""
        return self._game.score(total_reward)

    def is_success(self) -> bool:
        """Tell whether the goal is reached at this moment."""
        return self._game.is_success()

    def is_over(self) -> bool:
        """Tell whether the task itself has ended."""
        return self._game.is_over()

    def close(self) -> None:
        """Release the simulator."""
        self._game.close()


def without_pictures(env: TaskEnv) -> TaskEnv:
    """Return the task with frames of one black pixel, if it lives in a foreign simulator.

    Games of ours are returned as they are: their pictures are cheap, and some draw from the
    episode's stream.
    """
    if isinstance(env, GameEnv) and isinstance(env.game, Simulation):
        return GameEnv(env.spec, FrameSpec(height_px=1, width_px=1), UndrawnGame(env.game))
    return env
