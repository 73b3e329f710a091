"""Caches and loader: the same numbers by every road, kept across restarts, refused when stale."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from reverie.core.errors import ConfigError, DataError
from reverie.core.types import FrameSpec
from reverie.data.latents import FrameCache, LatentCache
from reverie.data.loader import LoadedBatch, WindowLoader, WindowReader
from reverie.data.sampling import SamplerConfig, WindowSampler
from reverie.data.store import EpisodeStore
from reverie.data.windows import WindowRef, list_windows
from tests.unit.data.making import make_episode

SPEC = FrameSpec(height_px=6, width_px=10)


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    made = EpisodeStore.create(tmp_path / "s", SPEC, "zstd")
    _grow(made, range(4))
    return made


def _grow(store: EpisodeStore, numbers: range) -> None:
    writer = store.writer()
    for number in numbers:
        episode = make_episode(steps=10 + number, height=6, width=10, seed=number)
        writer.append(episode, id=f"episode-{number}")
    store.refresh()


def _encode(frames: np.ndarray) -> torch.Tensor:
    """Two tokens of three channels: the colours of two pixels."""
    return torch.from_numpy(frames[:, 0, :2].astype(np.float32)) / 255


def _sampler(store: EpisodeStore) -> WindowSampler:
    return WindowSampler(list_windows(store.index, 4), SamplerConfig(batch_size=3, seed=1))


def _assert_same(one: LoadedBatch, other: LoadedBatch) -> None:
    assert one.refs == other.refs
    for lane in ("prev_actions", "prev_rewards", "action_mask", "is_first", "is_terminal"):
        assert_close(getattr(one.batch, lane), getattr(other.batch, lane))


def test_cached_latents_are_those_of_the_stored_frames(store: EpisodeStore, tmp_path: Path) -> None:
    cache = LatentCache.build(store, tmp_path / "latents", _encode, "key")
    frames = store.read_window("episode-2", 3, 5).frames
    assert frames is not None
    read = cache.read(WindowRef("episode-2", 3, 5))
    assert read.dtype == torch.float32
    assert_close(read, _encode(frames), atol=1e-3, rtol=0.0)
    again = LatentCache.open(store, tmp_path / "latents", "key")
    assert_close(again.read(WindowRef("episode-2", 3, 5)), read, atol=0.0, rtol=0.0)


def test_building_again_encodes_only_what_is_new(store: EpisodeStore, tmp_path: Path) -> None:
    lengths: list[int] = []

    def counting(frames: np.ndarray) -> torch.Tensor:
        lengths.append(len(frames))
        return _encode(frames)

    seen: list[tuple[int, int]] = []
    LatentCache.build(
        store, tmp_path / "l", counting, "key", lambda done, todo: seen.append((done, todo))
    )
    assert lengths == [11, 12, 13, 14]
    assert seen == [(11, 50), (23, 50), (36, 50), (50, 50)]
    _grow(store, range(4, 6))
    cache = LatentCache.build(store, tmp_path / "l", counting, "key")
    assert lengths[4:] == [15, 16]
    assert len(cache) == 6


def test_an_interrupted_build_keeps_its_finished_parts(
    store: EpisodeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reverie.data.rows.PART_FRAMES", 1)
    calls: list[int] = []

    def failing(frames: np.ndarray) -> torch.Tensor:
        calls.append(len(frames))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return _encode(frames)

    with pytest.raises(KeyboardInterrupt):
        LatentCache.build(store, tmp_path / "l", failing, "key")
    cache = LatentCache.build(store, tmp_path / "l", failing, "key")
    assert calls == [11, 12, 13, 13, 14]
    assert len(cache) == 4


def test_latents_of_another_tokenizer_or_store_are_refused(
    store: EpisodeStore, tmp_path: Path
) -> None:
    LatentCache.build(store, tmp_path / "l", _encode, "old")
    with pytest.raises(DataError, match="is stale: it was made for key 'old' .* Delete it, or"):
        LatentCache.open(store, tmp_path / "l", "new")
    with pytest.raises(DataError, match="is stale"):
        LatentCache.build(store, tmp_path / "l", _encode, "new")
    other = EpisodeStore.create(tmp_path / "other", SPEC, "zstd")
    with pytest.raises(DataError, match="is stale"):
        LatentCache.open(other, tmp_path / "l", "old")


def test_episodes_without_latents_are_named(store: EpisodeStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has not been built yet"):
        LatentCache.open(store, tmp_path / "l", "key")
    cache = LatentCache.build(store, tmp_path / "l", _encode, "key")
    with pytest.raises(DataError, match="has no rows of episode 'episode-9': the store has grown"):
        cache.read(WindowRef("episode-9", 0, 1))
    with pytest.raises(ConfigError, match="frames 0 to 10, asked for 5 from 8"):
        cache.read(WindowRef("episode-0", 8, 5))


@pytest.mark.parametrize("damage", ["truncate", "delete"])
def test_a_damaged_cache_says_what_to_do(store: EpisodeStore, tmp_path: Path, damage: str) -> None:
    LatentCache.build(store, tmp_path / "l", _encode, "key")
    part = next((tmp_path / "l").glob("*.npy"))
    if damage == "truncate":
        os.truncate(part, 90)
    else:
        part.unlink()
    with pytest.raises(DataError, match="Delete the folder"):
        LatentCache.open(store, tmp_path / "l", "key")


def test_all_roads_give_the_same_batches(store: EpisodeStore, tmp_path: Path) -> None:
    latents = LatentCache.build(store, tmp_path / "l", _encode, "key")
    cache = FrameCache.build(store, tmp_path / "f")
    readers = [
        WindowReader(store=store, action_width=5),
        WindowReader(store=store, action_width=5, frame_cache=cache, latents=latents),
        WindowReader(store=store, action_width=5, latents=latents, use_frames=False),
    ]
    loaders = [
        WindowLoader(reader, _sampler(store), num_prefetch=prefetch)
        for reader, prefetch in zip(readers, (0, 1, 3), strict=True)
    ]
    for _ in range(5):
        plain, cached, bare = (next(loader) for loader in loaders)
        _assert_same(plain, cached)
        _assert_same(plain, bare)
        assert plain.batch.frames is not None and cached.batch.frames is not None
        assert_close(plain.batch.frames, cached.batch.frames)
        assert bare.batch.frames is None
        assert plain.latents is None
        assert cached.latents is not None and bare.latents is not None
        assert_close(cached.latents, bare.latents)
        shown = torch.stack([_encode(row.numpy()) for row in plain.batch.frames])
        assert_close(cached.latents, shown, atol=1e-3, rtol=0.0)
    for loader in loaders:
        loader.close()


def test_reading_ahead_does_not_move_the_saved_state(store: EpisodeStore) -> None:
    reader = WindowReader(store=store, action_width=3)
    with WindowLoader(reader, _sampler(store)) as loader:
        expected = [next(loader) for _ in range(6)]
    with WindowLoader(reader, _sampler(store)) as first:
        for _ in range(2):
            next(first)
        state = first.state_dict()
        assert state["step"] == 2
    with WindowLoader(reader, _sampler(store)) as second:
        next(second)
        second.load_state_dict(state)
        for loaded in expected[2:]:
            _assert_same(next(second), loaded)


def test_an_error_while_reading_ahead_reaches_the_caller(store: EpisodeStore) -> None:
    sampler = _sampler(store)
    for file in (store.path / "shards").glob("*.frames"):
        file.write_bytes(b"")
    with WindowLoader(WindowReader(store=store, action_width=3), sampler) as loader:
        for _ in range(2):
            with pytest.raises(DataError, match="is damaged"):
                next(loader)
