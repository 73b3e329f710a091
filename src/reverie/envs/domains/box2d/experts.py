"""Experts of walker and lander: a gait of ours, and gymnasium's loops of the lander."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from jaxtyping import Float32

from reverie.envs.api import TaskEnv
from reverie.envs.domains.box2d.gait import WALK, Gait
from reverie.envs.domains.box2d.private import lander_module


class WalkerExpert:
    """Walks by a gait that feels no ground ahead: for flat and hardly uneven ground."""

    name = "expert"

    def __init__(self) -> None:
        """Make a walker that has not started."""
        self._gait = Gait(WALK)

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Begin with the first phase; nothing is drawn."""
        self._gait = Gait(WALK)
        return {}

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Continue the gait."""
        return self._gait.act(env.observe_state())

    def behaviour(self) -> str:
        """Return ``"expert"``."""
        return self.name


class LanderExpert:
    """Flies by the library's two proportional loops, to the pad or to the goal in the air."""

    name = "expert"
    _CONTINUOUS = SimpleNamespace(unwrapped=SimpleNamespace(continuous=True))

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Begin an episode; nothing is drawn."""
        return {}

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Steer towards the pad, or towards the goal as if the pad were there."""
        values = env.observe_state()
        if len(values) > 8:
            values[:2] = -values[8:]
            # The loop keeps above a funnel around the pad; around a goal in the air it must not.
            values[1] += 0.55 * abs(values[0])
            values[6:8] = 0.0
        action = lander_module().heuristic(self._CONTINUOUS, values[:8])
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def behaviour(self) -> str:
        """Return ``"expert"``."""
        return self.name
