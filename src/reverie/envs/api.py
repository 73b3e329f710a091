"""The one interface of every simulator."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from reverie.core.types import FrameSpec
from reverie.envs.spec import TaskSpec


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StepResult:
    """What one step of a simulator gives back."""

    frame: UInt8[np.ndarray, "h w 3"]
    reward: float
    terminated: bool
    """The task itself ended (success or death)."""
    truncated: bool
    """The time limit was reached."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """Always ``score`` (normalised, so far) and ``success``; anything else is the task's own."""


@runtime_checkable
class TaskEnv(Protocol):
    """One running simulator with one task.

    An environment owns all of its randomness: ``reset(seed)`` starts a stream from which every
    later draw of that episode comes, so seed and actions determine every frame.
    """

    spec: TaskSpec
    frame_spec: FrameSpec

    def reset(self, seed: int) -> UInt8[np.ndarray, "h w 3"]:
        """Start an episode and return its first frame."""
        ...

    def step(self, action: Float32[np.ndarray, " a"]) -> StepResult:
        """Advance one step; lanes outside [-1, 1] are clipped, a wrong width is refused."""
        ...

    def observe_state(self) -> Float32[np.ndarray, " n"]:
        """Return the task's low-dimensional state vector, without side effects."""
        ...

    def save(self) -> object:
        """Return a snapshot that ``restore`` accepts any number of times."""
        ...

    def restore(self, snapshot: object) -> UInt8[np.ndarray, "h w 3"]:
        """Go back to a snapshot exactly, randomness included; return the frame shown there."""
        ...

    def close(self) -> None:
        """Release the simulator."""
        ...


@runtime_checkable
class Policy(Protocol):
    """Whoever chooses the actions of an episode: noise, an expert, a planner, a person.

    A policy may read the environment: its spec, its state vector, or its inner state where the
    policy was written for that task. It must not step or reset it.
    """

    name: str
    """What ``Episode.source`` records, such as ``"random"`` or ``"expert"``."""

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Begin an episode that has just been reset.

        Args:
            env: The environment that will be acted in.
            rng: The policy's own stream for this whole episode; it may be kept.

        Returns:
            Parameters drawn for this episode, JSON-compatible; ``Episode.parameters`` records them.
        """
        ...

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Choose the action of step ``step`` (0 after a reset), at the task's native width."""
        ...

    def behaviour(self) -> str:
        """Name the behaviour that chose the last action; a policy that never switches: ``name``."""
        ...
