"""The scripted experts that the Meta-World package ships, taught to stop when they are done."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32
from metaworld.policies import ENV_POLICY_MAP

from reverie.envs.api import TaskEnv
from reverie.envs.game_env import GameEnv


class SawyerExpert:
    """Plays the package's policy, and holds still while the task counts as solved.

    The package's policies push on after success and often undo it, while the benchmark's score
    looks at the last step only.
    """

    name = "expert"

    def __init__(self, name: str) -> None:
        """Make the expert of a task, named as in the package, such as ``"drawer-open"``."""
        self._policy = ENV_POLICY_MAP[f"{name}-v3"]()
        self._grip = np.float32(0.0)

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Begin an episode; nothing is drawn."""
        self._grip = np.float32(0.0)
        return {}

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Ask the policy, or keep the grip and the place."""
        if isinstance(env, GameEnv) and env.game.is_success():
            return np.array([0.0, 0.0, 0.0, self._grip], dtype=np.float32)
        with warnings.catch_warnings():
            # It says of its own constants that they are large; the action is clipped anyway.
            warnings.simplefilter("ignore", UserWarning)
            wanted = self._policy.get_action(env.observe_state().astype(np.float64))
        action = np.clip(wanted, -1.0, 1.0).astype(np.float32)
        self._grip = action[3]
        return action

    def behaviour(self) -> str:
        """Return ``"expert"``."""
        return self.name
