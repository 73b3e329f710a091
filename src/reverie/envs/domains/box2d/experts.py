"""Gymnasium's heuristics of walker and lander, as policies."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from jaxtyping import Float32

from reverie.envs.api import TaskEnv
from reverie.envs.domains.box2d.private import lander_module, walker_module

_STOCK_VIEW_M = (600 / 30, 400 / 30)
_OUR_VIEW_M = 224 / 15
"""The library scales observed speeds by the size of its view; ours differs."""


class WalkerExpert:
    """Walks by the library's three-phase gait, which was tuned on nearly flat ground."""

    name = "expert"

    def __init__(self) -> None:
        """Make a walker that has not started."""
        self._gait: Any = None

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Begin with the first phase; nothing is drawn."""
        self._gait = walker_module().BipedalWalkerHeuristics()
        return {}

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Continue the gait."""
        values = env.observe_state()
        values[2] *= _STOCK_VIEW_M[0] / _OUR_VIEW_M
        values[3] *= _STOCK_VIEW_M[1] / _OUR_VIEW_M
        return np.clip(self._gait.step_heuristic(values), -1.0, 1.0).astype(np.float32)

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
