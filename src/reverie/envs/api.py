"""The one interface of every simulator."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

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
