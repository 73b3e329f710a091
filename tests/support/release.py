"""The tiny model in the layout of the MMBench2 release, and what the release computes with it."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reverie.core.batch import Batch
from reverie.models.convert.mmbench2 import TaskTable, import_release
from reverie.models.dynamics.world import ShortcutWorld
from tests.support.shared import REPOSITORY

TINY = REPOSITORY / "tests" / "fixtures" / "mmbench2-tiny"
TASK = "tiny-push"


@cache
def golden() -> dict[str, Tensor]:
    with np.load(TINY / "io.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def imported(
    dynamics: str = "dynamics.pt",
    *,
    num_flow_steps: int = 8,
    context_noise: float = 0.1,
    folder: Path = TINY,
    tasks: tuple[str, ...] = (TASK,),
) -> ShortcutWorld:
    return import_release(
        folder / "tokenizer.pt",
        folder / dynamics,
        TaskTable(names=tasks),
        num_flow_steps=num_flow_steps,
        context_noise=context_noise,
    ).world


def release_batch(actions: Tensor, mask: Tensor, language: Tensor) -> Batch:
    """Frames of a window as the release feeds them: position 0 says nothing."""
    rows, frames = actions.shape[:2]
    nothing = torch.zeros(rows, frames, dtype=torch.bool)
    return Batch(
        frames=None,
        prev_actions=actions,
        prev_rewards=torch.zeros(rows, frames),
        action_mask=mask,
        is_first=nothing,
        is_terminal=nothing,
        task=(TASK,) * rows,
        language=language,
    )
