"""Mirrored episodes: turned pictures, turned actions, the same course; and counted once as real."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reverie.core.config import to_dict
from reverie.core.errors import ConfigError
from reverie.core.types import Episode, FrameSpec
from reverie.data.store import EpisodeStore
from reverie.recipes.classic_base import check_classic_run
from reverie.recipes.registry import load_recipe
from reverie.train.classic import Round, VaeTrainingConfig, prepare_vae, read_stream
from reverie.train.loop import FitConfig
from reverie.train.phase import PhaseFolder, Surroundings
from tests.support.classic import make_classic_world

TASK = "cartpole-v1-close"
FRAME = FrameSpec(height_px=16, width_px=16)
NAMES = ("a", "b", "c")
MIRROR = (-1.0,)


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    """Three episodes whose left half is always darker than the right one."""
    found = EpisodeStore.create(tmp_path / "data", FRAME, "zstd")
    rng = np.random.default_rng(0)
    with found.writer() as writer:
        for number, name in enumerate(NAMES):
            writer.append(_episode(rng, num_steps=5 + number), id=name)
    found.refresh()
    return found


def _episode(rng: np.random.Generator, num_steps: int) -> Episode:
    frames = rng.integers(0, 100, (num_steps + 1, 16, 16, 3), dtype=np.uint8)
    frames[:, :, 8:] += 120
    return Episode(
        task=TASK,
        source="test",
        seed=0,
        frames=frames,
        actions=rng.uniform(-1, 1, (num_steps, 1)).astype(np.float32),
        rewards=np.ones(num_steps, np.float32),
        terminated=True,
    )


def _stream(world: Any, store: EpisodeStore, folder: Path, data: Round) -> Any:
    around = Surroundings(folder=folder, seed=0)
    return read_stream(world.vae, store, data, action_width=1, around=around)


def _world() -> Any:
    return make_classic_world(tasks=(TASK,), terminating=(TASK,), action_width=1)


def test_stream_holds_each_episode_and_then_its_mirror_image(
    store: EpisodeStore, tmp_path: Path
) -> None:
    world = _world()
    plain = _stream(world, store, tmp_path, Round(episode_ids=NAMES, num_newest=1))
    both = _stream(world, store, tmp_path, Round(episode_ids=NAMES, num_newest=1, mirror=MIRROR))
    assert both.num_frames == 2 * plain.num_frames
    assert both.num_real_frames == plain.num_frames
    assert both.num_real_steps == plain.num_real_steps == 5 + 6 + 7
    assert both.newest_from == 2 * plain.newest_from
    begin = 0
    for name in NAMES:
        length = store.entry(name).num_frames
        window = store.read_window(name, 0, length)
        turned = torch.from_numpy(np.flip(window.frames, axis=2).copy())[None]
        mean, _, _ = world.vae.encode_posterior(turned, None)
        first, second = slice(begin, begin + length), slice(begin + length, begin + 2 * length)
        begin += 2 * length
        torch.testing.assert_close(both.posteriors[second, 0], mean[0], atol=2e-3, rtol=2e-3)
        assert not torch.equal(both.posteriors[first], both.posteriors[second])
        lanes = both.lanes
        torch.testing.assert_close(lanes.prev_actions[0, second], -lanes.prev_actions[0, first])
        for lane in (lanes.prev_rewards, lanes.is_first, lanes.is_terminal):
            assert torch.equal(lane[0, second], lane[0, first])


@pytest.mark.parametrize("mirror", [(), MIRROR])
def test_vae_sees_both_sides_only_with_a_mirror(
    store: EpisodeStore, tmp_path: Path, mirror: tuple[float, ...]
) -> None:
    world = _world()
    world.vae.requires_grad_(True)
    config = VaeTrainingConfig(fit=FitConfig(total_steps=1), batch_size=64)
    training = prepare_vae(
        world.vae,
        store,
        config,
        data=Round(episode_ids=NAMES, mirror=mirror),
        folder=PhaseFolder(path=tmp_path / "vae", config={}),
        around=Surroundings(folder=tmp_path, seed=0),
    )
    stacks = training.next_batch().float()
    is_turned = stacks[..., :8].mean(dim=(1, 2, 3)) > stacks[..., 8:].mean(dim=(1, 2, 3))
    if mirror:
        assert 16 < int(is_turned.sum()) < 48  # of 64 fair coins: beyond four standard deviations
    else:
        assert not is_turned.any()


def test_mirrors_of_another_width_are_refused(store: EpisodeStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one sign per lane"):
        _stream(_world(), store, tmp_path, Round(episode_ids=NAMES, mirror=(-1.0, 1.0)))
    config: Any = load_recipe("carracing-laptop")(())
    with pytest.raises(ConfigError, match="mirror has the signs of 1"):
        check_classic_run(replace(config, mirror=(-1.0,)))


def test_recipes_without_a_mirror_write_the_same_files_as_before() -> None:
    assert "mirror" not in to_dict(load_recipe("cartpole-dream")(()))
    assert to_dict(load_recipe("takecover-laptop")(()))["mirror"] == [-1.0]
