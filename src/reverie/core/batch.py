"""What every model is fed: windows of episodes, looking back."""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Windows, looking back: ``prev_actions[:, t]`` led to ``frames[:, t]``.

    ``data.windows.to_batch`` is the only code that makes one from episodes.
    """

    frames: UInt8[Tensor, "b t h w 3"] | None
    """None where the latents come from a cache and no picture is needed."""
    prev_actions: Float[Tensor, "b t a"]
    """Zero where ``is_first``; padded lanes are zero."""
    prev_rewards: Float[Tensor, "b t"]
    """Raw reward that arrived with the frame; zero where ``is_first``."""
    action_mask: Float[Tensor, "b a"]
    """1 on the task's real action lanes, 0 on padding."""
    is_first: Bool[Tensor, "b t"]
    """True on the first frame of an episode: no action led to it."""
    is_terminal: Bool[Tensor, "b t"]
    """True where the task (not a time limit) ended at this frame."""
    task: tuple[str, ...]
    """Task name of each row."""
    language: Float[Tensor, "b e"] | None = None
    """Instruction embedding of each row, where there is one."""

    @property
    def num_rows(self) -> int:
        """Number of windows b."""
        return self.prev_actions.shape[0]

    @property
    def num_frames(self) -> int:
        """Number of frames t per window."""
        return self.prev_actions.shape[1]

    def to(self, device: torch.device | str) -> "Batch":
        """Return the same batch on another device."""
        moved = {
            item.name: value.to(device)
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), Tensor)
        }
        return replace(self, **moved)

    def slice_time(self, start: int, stop: int) -> "Batch":
        """Return frames ``start`` to ``stop`` (exclusive) of every window."""
        lanes = ("prev_actions", "prev_rewards", "is_first", "is_terminal")
        cut = {name: getattr(self, name)[:, start:stop] for name in lanes}
        frames = None if self.frames is None else self.frames[:, start:stop]
        return replace(self, frames=frames, **cut)

    def select(self, rows: list[int]) -> "Batch":
        """Return the given rows, in the given order."""
        index = torch.as_tensor(rows, dtype=torch.long, device=self.prev_actions.device)
        picked = {
            item.name: value[index]
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), Tensor)
        }
        return replace(self, task=tuple(self.task[row] for row in rows), **picked)
