"""The words of the data side: specs of frames and actions, and the episode (NumPy only)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from reverie.core.errors import ConfigError, ShapeError

NATIVE_FRAME_PX = 224
"""Side of the frames that every task draws by default."""


RenderQuality = Literal["release", "fast", "fast2x"]
"""How carefully tasks are drawn whose simulator leaves it to us (``TaskSpec.has_qualities``).
``release``: as frames of the benchmark were released. ``fast``: cheap shadows, one sample a pixel;
our own data. ``fast2x``: the same at twice the size, averaged; smooth edges, for people."""

DEFAULT_QUALITY: RenderQuality = "fast"


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameSpec:
    """Size of the frames of a task, a store or a model; always RGB uint8, channels last."""

    height_px: int = NATIVE_FRAME_PX
    width_px: int = NATIVE_FRAME_PX

    def __post_init__(self) -> None:
        """Refuse empty frames."""
        if self.height_px < 1 or self.width_px < 1:
            raise ConfigError(
                f"A frame must be at least 1x1, got {self.height_px}x{self.width_px}. Try 64x64."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one frame: (h, w, 3)."""
        return (self.height_px, self.width_px, 3)


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionSpec:
    """Native width of a task's actions; every lane lies in [-1, 1]."""

    width: int
    kind: Literal["continuous", "discrete"] = "continuous"
    """Discrete actions are one-hot over ``width`` choices."""

    def __post_init__(self) -> None:
        """Refuse widths below one."""
        if self.width < 1:
            raise ConfigError(f"An action needs at least one lane, got width {self.width}.")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Episode:
    """One episode, looking forward: ``frames[t] --actions[t]--> frames[t+1]`` pays ``rewards[t]``.

    The constructor refuses arrays whose lengths, dtypes or ranges do not fit together.
    """

    frames: UInt8[np.ndarray, "t1 h w 3"]
    """T+1 RGB frames."""
    actions: Float32[np.ndarray, "t a"]
    """T actions at their native width, in [-1, 1]."""
    rewards: Float32[np.ndarray, " t"]
    """T raw rewards."""
    terminated: bool
    """True if the task itself ended at the last frame; a time limit does not count."""
    task: str
    source: str
    """Name of the behaviour that chose the actions, such as ``"random"`` or ``"mixed"``."""
    seed: int
    score: float = float("nan")
    """Normalised outcome in [0, 1] by the task's rule; NaN where it is not known."""
    behaviours: tuple[str, ...] = ()
    """Per-step behaviour names when the source switches within the episode (length T), else ()."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Drawn parameters of the behaviour, JSON-compatible."""

    def __post_init__(self) -> None:
        """Check lengths, dtypes and ranges."""
        self._check_lengths()
        self._check_dtypes()
        # Written so that a NaN is refused too.
        if len(self.actions) and not float(np.abs(self.actions).max()) <= 1.0:
            raise ShapeError(
                f"Actions must lie in [-1, 1], got a lane at {np.abs(self.actions).max():.4g} "
                f"in an episode of '{self.task}'. Clip them before building an Episode."
            )

    def _check_lengths(self) -> None:
        steps = len(self.rewards)
        if self.frames.ndim != 4 or self.actions.ndim != 2 or self.rewards.ndim != 1:
            raise ShapeError(
                "An Episode needs frames (T+1,h,w,3), actions (T,a) and rewards (T,), got "
                f"{self.frames.shape}, {self.actions.shape}, {self.rewards.shape}."
            )
        if len(self.frames) != steps + 1 or len(self.actions) != steps:
            raise ShapeError(
                f"An Episode of T steps needs T+1 frames, T actions and T rewards, got "
                f"{len(self.frames)} frames, {len(self.actions)} actions, {steps} rewards."
            )
        if self.behaviours and len(self.behaviours) != steps:
            raise ShapeError(
                f"behaviours must name one behaviour per step: got {len(self.behaviours)} names "
                f"for {steps} steps."
            )

    def _check_dtypes(self) -> None:
        given = (self.frames.dtype, self.actions.dtype, self.rewards.dtype)
        if given != (np.uint8, np.float32, np.float32) or self.frames.shape[-1] != 3:
            raise ShapeError(
                "An Episode needs RGB uint8 frames, float32 actions and float32 rewards, got "
                f"{given[0]} x{self.frames.shape[-1]} channels, {given[1]}, {given[2]}."
            )

    @property
    def num_steps(self) -> int:
        """Number of steps T; there are T+1 frames."""
        return len(self.rewards)

    @property
    def frame_spec(self) -> FrameSpec:
        """Size of this episode's frames."""
        return FrameSpec(height_px=self.frames.shape[1], width_px=self.frames.shape[2])
