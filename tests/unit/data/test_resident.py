"""Windows gathered from a device are those read from disk, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from reverie.core.errors import DataError
from reverie.core.types import FrameSpec
from reverie.data.latents import FrameCache, LatentCache
from reverie.data.loader import WindowReader
from reverie.data.resident import ResidentReader, ResidentRows, resident_frames
from reverie.data.store import EpisodeStore
from reverie.data.windows import WindowRef
from tests.unit.data.making import make_episode

LANES = ("prev_actions", "prev_rewards", "action_mask", "is_first", "is_terminal", "task")
REFS = [WindowRef("episode-2", 0, 4), WindowRef("episode-0", 7, 4), WindowRef("episode-1", 3, 4)]
CPU = torch.device("cpu")


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    made = EpisodeStore.create(tmp_path / "s", FrameSpec(height_px=6, width_px=10), "zstd")
    writer = made.writer()
    for number in range(3):
        episode = make_episode(
            steps=10 + number,
            height=6,
            width=10,
            lanes=2 + number,
            seed=number,
            task=f"task-{number}",
            terminated=number == 0,
        )
        writer.append(episode, id=f"episode-{number}")
    made.refresh()
    return made


def _encode(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames[:, 0, :2].astype(np.float32)) / 255


def test_gathered_windows_equal_windows_read(store: EpisodeStore, tmp_path: Path) -> None:
    """The refs hold an episode's start, its end (terminated) and a middle; widths differ."""
    latents = LatentCache.build(store, tmp_path / "latents", _encode, "key")
    disk = WindowReader(store=store, action_width=5, latents=latents, use_frames=False)
    resident = ResidentReader(store, latents, action_width=5, device=CPU)
    expected, got = disk.read(REFS), resident.read(REFS)
    for lane in LANES:
        one, other = getattr(expected.batch, lane), getattr(got.batch, lane)
        if isinstance(one, tuple):
            assert one == other
        else:
            assert_close(one, other, rtol=0.0, atol=0.0)
    assert bool(got.batch.is_terminal[1, -1]) and bool(got.batch.is_first[0, 0])
    assert expected.latents is not None and got.latents is not None
    assert_close(expected.latents, got.latents, rtol=0.0, atol=0.0)
    assert expected.refs == got.refs


def test_gathered_frames_equal_frames_read(store: EpisodeStore, tmp_path: Path) -> None:
    cache = FrameCache.build(store, tmp_path / "frames")
    gathered = resident_frames(store, cache, CPU)(REFS)
    expected = np.stack([store.read_window(*ref).frames for ref in REFS])
    assert gathered.dtype == torch.uint8
    np.testing.assert_array_equal(gathered.numpy(), expected)


def test_no_episodes_are_refused() -> None:
    with pytest.raises(DataError, match="no episodes to lay on the device"):
        ResidentRows([], lambda ref: np.zeros(0), CPU)
