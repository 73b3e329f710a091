"""A miniature of the release's data, painted so that frames say which row they belong to."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

LANES, SIDE = 16, 224


def paint(rows: int, actions: np.ndarray, rewards: np.ndarray, seed: int) -> np.ndarray:
    """One frame per row: its action as red, its reward as green, its index as blue."""
    rng = np.random.default_rng(seed)
    frames = np.zeros((rows, SIDE, SIDE, 3), np.uint8)
    frames[..., 0] = np.nan_to_num(127 + 100 * actions[:, 0])[:, None, None].astype(np.uint8)
    frames[..., 1] = np.nan_to_num(100 + 10 * rewards)[:, None, None].astype(np.uint8)
    frames[..., 2] = (np.arange(rows) % 256)[:, None, None]
    for frame in frames:
        corner = rng.integers(0, 256, 3)
        frame[: SIDE // 4, : SIDE // 4] = corner
    return frames


def write_task(
    folder: Path,
    task: str,
    lengths: list[int],
    *,
    width: int = 2,
    frames_per_strip: int = 7,
    seed: int = 0,
) -> dict[str, Any]:
    """Write ``<task>.pt`` and its strips; return what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows = sum(length + 1 for length in lengths)
    actions = np.zeros((rows, LANES), np.float32)
    actions[:, :width] = rng.uniform(-1, 1, (rows, width))
    rewards = rng.integers(0, 9, rows).astype(np.float32)
    episodes = np.repeat(np.arange(len(lengths)), [length + 1 for length in lengths])
    firsts = np.flatnonzero(np.diff(episodes, prepend=-1))
    actions[firsts, :], rewards[firsts] = np.nan, np.nan
    frames = paint(rows, actions, rewards, seed)
    table = {
        "action": torch.from_numpy(actions),
        "reward": torch.from_numpy(rewards)[:, None],
        "episode": torch.from_numpy(episodes),
        "terminated": torch.zeros(rows, dtype=torch.bool),
    }
    torch.save(table, folder / f"{task}.pt")
    for index, start in enumerate(range(0, rows, frames_per_strip)):
        write_strip(folder / f"{task}-{index}.png", frames[start : start + frames_per_strip])
    return {"frames": frames, "actions": actions, "rewards": rewards, "episodes": episodes}


def write_strip(path: Path, frames: np.ndarray) -> None:
    strip = np.concatenate(list(frames), axis=1)[..., ::-1]
    assert cv2.imwrite(str(path), strip)
