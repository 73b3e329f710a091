"""Scripted experts: one pure function of the state vector per task, played as a ``Policy``."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32

from reverie.core.errors import ConfigError
from reverie.envs.api import Policy, TaskEnv
from reverie.envs.registry import call_named, task_spec

Controller = Callable[[Float32[np.ndarray, " n"]], tuple[float, ...]]
"""State vector of a task to one action; may leave [-1, 1], where it is clipped."""


class Expert:
    """Plays a task by its controller. Draws nothing: the same state gives the same action."""

    name = "expert"

    def __init__(self, controller: Controller) -> None:
        """Wrap a controller."""
        self._controller = controller

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Begin an episode; nothing is drawn."""
        return {}

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Choose the action from the state vector."""
        action = np.array(self._controller(env.observe_state()), dtype=np.float32)
        return np.clip(action, -1.0, 1.0)

    def behaviour(self) -> str:
        """Return ``"expert"``."""
        return self.name


def has_expert(task: str) -> bool:
    """Tell whether a task has a scripted expert. Imports no simulator."""
    return task_spec(task).expert is not None


def make_expert(task: str) -> Policy:
    """Make the scripted expert of a task.

    Raises:
        UnknownNameError: There is no such task.
        ConfigError: The task has no expert.
    """
    spec = task_spec(task)
    if spec.expert is None:
        raise ConfigError(
            f"The task '{task}' has no scripted expert. Choose a behaviour that needs none, such "
            f"as 'random' or 'held', or a task that has one: reverie tasks list"
        )
    made = call_named(spec.expert, spec)
    return made if isinstance(made, Policy) else Expert(made)
