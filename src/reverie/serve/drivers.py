"""Who drives when nobody does: a wandering policy, and the action that means doing nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32

from reverie.envs.api import TaskEnv
from reverie.envs.spec import TaskSpec

_SHORTEST_HOLD, _LONGEST_HOLD = 4, 16
_RESTING_NAMES = ("noop", "no-op", "nothing", "none", "stay", "rest", "idle")


def rest_action(spec: TaskSpec) -> Float32[np.ndarray, " a"]:
    """Return the action that does nothing: zeros, or the discrete choice that says so."""
    action = np.zeros(spec.action.width, dtype=np.float32)
    if spec.action.kind == "discrete":
        names = [name.lower() for name in spec.action_names]
        action[next((names.index(name) for name in _RESTING_NAMES if name in names), 0)] = 1.0
    return action


class Wander:
    """A policy that draws an action, holds it for a while, and draws again.

    Held actions move things across the picture, which white noise, averaging out, does not.
    """

    name = "random"

    def __init__(self) -> None:
        """Make a policy that ``start`` must wake."""
        self._rng = np.random.default_rng(0)
        self._until = 0
        self._action = np.zeros(1, dtype=np.float32)

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Begin an episode; nothing is drawn for it as a whole."""
        self._rng, self._until = rng, 0
        self._action = rest_action(env.spec)
        return {}

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Return the held action, or a new one when its time is over."""
        if step >= self._until:
            self._until = step + int(self._rng.integers(_SHORTEST_HOLD, _LONGEST_HOLD + 1))
            self._action = self._draw(env.spec)
        return self._action

    def behaviour(self) -> str:
        """Return ``"random"``."""
        return self.name

    def _draw(self, spec: TaskSpec) -> Float32[np.ndarray, " a"]:
        width = spec.action.width
        if spec.action.kind == "discrete":
            return np.eye(width, dtype=np.float32)[self._rng.integers(width)]
        return self._rng.uniform(-1.0, 1.0, width).astype(np.float32)
