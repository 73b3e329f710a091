"""Readings divided by motion: busy scenes inflate every raw reading.

Which motion is a choice that changes the numbers a lot, so it is part of a reading's name, such as
``"u_r/floored"``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from reverie.core.errors import ConfigError

Variant = Literal["step", "task", "floored"]
"""Normalisations that a single step and its task's motion suffice for."""
VARIANTS: tuple[Variant, ...] = get_args(Variant)

MIN_STEP_MOTION = 1e-3
"""Floor of the per-step motion, in the tokenizer's own units (as the release's planner has it)."""
FLOOR_SHARE = 0.5
"""The floored normaliser never divides by less than this share of the task's motion."""
RUNNING_DECAY = 0.99
"""Decay of the running mean of motion."""


def per_step(
    reading: Float[Tensor, "*any"], motion: Float[Tensor, "*any"]
) -> Float[Tensor, "*any"]:
    """Divide by the motion of the same step. Explodes where nothing moves."""
    return reading / motion.clamp(min=MIN_STEP_MOTION)


def per_task(
    reading: Float[Tensor, "*any"], task_motion: Float[Tensor, "*any"]
) -> Float[Tensor, "*any"]:
    """Divide by the mean motion of real data of the task."""
    return reading / task_motion


def floored(
    reading: Float[Tensor, "*any"],
    motion: Float[Tensor, "*any"],
    task_motion: Float[Tensor, "*any"],
) -> Float[Tensor, "*any"]:
    """Divide by the step's motion, or by half of the task's where the step moves less.

    Differs from the paper: the floor. Without it a still frame has the largest reading of all.
    """
    return reading / torch.maximum(motion, FLOOR_SHARE * task_motion)


def per_clip(reading: Float[Tensor, "b t"], motion: Float[Tensor, "b t"]) -> Float[Tensor, " b"]:
    """Return the ratio of means over whole clips; NaN where a clip does not move at all."""
    moved = motion.mean(dim=1)
    return torch.where(moved > 0, reading.mean(dim=1) / moved, torch.nan)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunningMotion:
    """Exponential mean of motion with bias correction. A value: ``update`` returns the next."""

    total: Float[Tensor, " b"]
    weight: float
    decay: float = RUNNING_DECAY

    @classmethod
    def start(cls, num_rows: int, decay: float = RUNNING_DECAY) -> "RunningMotion":
        """Begin without any motion seen."""
        return cls(total=torch.zeros(num_rows), weight=0.0, decay=decay)

    def update(self, motion: Float[Tensor, " b"]) -> "RunningMotion":
        """Include the motion of one more step."""
        total = self.total.to(motion) * self.decay + (1 - self.decay) * motion
        weight = self.weight * self.decay + (1 - self.decay)
        return RunningMotion(total=total, weight=weight, decay=self.decay)

    @property
    def value(self) -> Float[Tensor, " b"]:
        """The mean so far; NaN before the first step."""
        return self.total / self.weight if self.weight else torch.full_like(self.total, torch.nan)


def running(
    reading: Float[Tensor, "b t"], motion: Float[Tensor, "b t"], decay: float = RUNNING_DECAY
) -> Float[Tensor, "b t"]:
    """Divide each step by the running mean of motion up to and including that step."""
    mean = RunningMotion.start(motion.shape[0], decay)
    columns = []
    for column in motion.unbind(dim=1):
        mean = mean.update(column)
        columns.append(mean.value)
    return reading / torch.stack(columns, dim=1)


def task_motions(
    tasks: Sequence[str], motion: Mapping[str, float], like: Float[Tensor, " b"]
) -> Float[Tensor, " b"]:
    """Return the real-data motion of each row's task.

    Raises:
        ConfigError: A task's motion is not known, or is not positive.
    """
    for task in dict.fromkeys(tasks):
        if not motion.get(task, 0.0) > 0.0:
            raise ConfigError(
                f"The motion of real '{task}' data is {motion.get(task, 'not known')}, so readings "
                f"cannot be divided by it. Known: {', '.join(motion) or 'none'}. Take the raw or "
                f"the per-step reading, or measure it (evaluate.reconstruction.real_motion)."
            )
    return torch.tensor([motion[task] for task in tasks], dtype=like.dtype, device=like.device)
