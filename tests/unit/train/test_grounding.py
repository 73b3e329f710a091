"""Grounding: dreamed starts are reached again exactly, what is played there counts, and is told."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.core.config import to_dict
from reverie.core.errors import ConfigError, DataError
from reverie.core.metrics import read_metrics
from reverie.core.types import FrameSpec
from reverie.data.store import EpisodeStore
from reverie.envs.api import TaskEnv
from reverie.envs.registry import open_envs
from reverie.models.classic.controller import ControllerConfig
from reverie.planning.live import LiveConfig, play_live
from reverie.train.classic import LatentStream, Round, read_stream
from reverie.train.controller import (
    GROUND_PATIENCE,
    RealPlay,
    SearchConfig,
    norm_quantile,
    train_controller,
)
from reverie.train.grounding import Grounded, Grounding
from reverie.train.phase import PhaseFolder, Surroundings
from tests.support.classic import make_classic_world

TASK = "cartpole-v1-close"
FRAME = FrameSpec(height_px=16, width_px=16)
NUM_EPISODES = 6
QUICK = SearchConfig(
    generations=4, population=12, num_starts=6, horizon=12, start_context=3, save_every=1
)


def make_world() -> Any:
    return make_classic_world(tasks=(TASK,), terminating=(TASK,), action_width=1, num_components=1)


def controller_of(world: Any) -> ControllerConfig:
    return ControllerConfig(num_features=world.num_features, action_map="binary")


def reads_z_only(controller: ControllerConfig, seed: int = 0) -> Tensor:
    """A controller whose actions do not depend on how far back M has read."""
    weights = torch.zeros(1, controller.num_parameters)
    weights[0, :5] = torch.randn(5, generator=torch.Generator().manual_seed(seed))
    return weights


@pytest.fixture
def envs() -> Iterator[list[TaskEnv]]:
    with open_envs(TASK, 12, frame_spec=FRAME) as opened:
        yield opened


@pytest.fixture
def store(tmp_path: Path, envs: list[TaskEnv]) -> EpisodeStore:
    """Episodes of a controller, some steps of which are random."""
    world, found = make_world(), EpisodeStore.create(tmp_path / "data", FRAME, "zstd")
    controller = controller_of(world)
    with found.writer() as writer:
        for number in range(NUM_EPISODES):
            weights = reads_z_only(controller)
            live = LiveConfig(max_steps=40, random_share=0.3)
            played = play_live(
                world, controller, weights, envs[:1], [number], config=live, keeps_frames=True
            )
            writer.append(played[0].to_episode("test"), id=f"{number:02d}")
    found.refresh()
    return found


def make_ground(world: Any, store: EpisodeStore, envs: Sequence[TaskEnv]) -> Grounding:
    names = tuple(entry.id for entry in store.index)
    return Grounding(
        world=world,
        controller=controller_of(world),
        store=store,
        data=Round(episode_ids=names),
        envs=envs,
    )


def stream_of(world: Any, store: EpisodeStore, tmp_path: Path) -> LatentStream:
    names = tuple(entry.id for entry in store.index)
    around = Surroundings(folder=tmp_path, seed=0)
    return read_stream(world.vae, store, Round(episode_ids=names), action_width=1, around=around)


def search(
    tmp_path: Path, world: Any, stream: LatentStream, config: SearchConfig, real: RealPlay
) -> Tensor:
    torch.set_num_threads(1)
    controller = controller_of(world)
    return train_controller(
        world,
        controller,
        torch.zeros(controller.num_parameters),
        stream,
        config,
        folder=PhaseFolder(path=tmp_path / "controller", config=to_dict(config)),
        around=Surroundings(folder=tmp_path, seed=3),
        real=real,
    )


def test_a_controller_that_goes_on_from_its_own_moment_repeats_its_own_end(
    tmp_path: Path, envs: list[TaskEnv]
) -> None:
    world = make_world()
    controller = controller_of(world)
    weights = reads_z_only(controller)
    played = play_live(world, controller, weights, envs[:1], [7], keeps_frames=True)[0]
    store = EpisodeStore.create(tmp_path / "own", FRAME, "zstd")
    with store.writer() as writer:
        writer.append(played.to_episode("test"), id="00")
    store.refresh()
    place, others = 4, torch.cat([weights, -weights, weights, -weights, weights])
    # Fewer environments than candidates: they take turns.
    grounded = make_ground(world, store, envs[:3])(others, [place], 1000)
    left = float(sum(played.rewards[place:]))
    assert grounded.returns[0, [0, 2, 4]].tolist() == [left] * 3
    assert grounded.lifetimes[0, 0] == left - 1 and played.terminated
    assert grounded.num_steps == grounded.returns.sum() and grounded.num_replayed == place
    cut = make_ground(world, store, envs)(weights, [place], 2)
    assert cut.returns.tolist() == [[2.0]] and cut.lifetimes.tolist() == [[2.0]]


def test_frames_are_found_in_their_episodes_and_ends_are_no_starts(
    store: EpisodeStore, envs: list[TaskEnv]
) -> None:
    world = make_world()
    ground = make_ground(world, store, envs)
    lengths = [entry.num_frames for entry in store.index]
    last = sum(lengths[:2]) - 1
    assert store.index[1].terminated
    weights = reads_z_only(controller_of(world))
    found = ground(weights, [last, last + 1, last + 3], 5)
    assert found.rows == (1, 2) and found.returns.shape == (2, 1)
    assert found.num_replayed == lengths[1] - 1 + 0 + 2


def test_episodes_that_do_not_repeat_are_refused(
    tmp_path: Path, store: EpisodeStore, envs: list[TaskEnv]
) -> None:
    world = make_world()
    forged = EpisodeStore.create(tmp_path / "forged", FRAME, "zstd")
    episode = store.read_episode(store.index[0].id)
    with forged.writer() as writer:
        writer.append(replace(episode, seed=episode.seed + 1), id="00")
    forged.refresh()
    ground = make_ground(world, forged, envs)
    with pytest.raises(DataError, match="does not repeat: its seed and actions lead to another"):
        ground(reads_z_only(controller_of(world)), [5], 3)


def pays_first_weight(candidates: Tensor, frames: Sequence[int], horizon: int) -> Grounded:
    """A simulator that pays what no dream does."""
    shape = (len(frames), len(candidates))
    return Grounded(
        rows=tuple(range(len(frames))),
        returns=100 * candidates[:, 0].expand(shape),
        lifetimes=candidates[:, 0].expand(shape),
        num_steps=int(np.prod(shape)) * horizon,
        num_replayed=0,
    )


def test_rollouts_that_are_replaced_steer_the_search_and_their_steps_are_logged(
    tmp_path: Path, store: EpisodeStore
) -> None:
    world = make_world()
    stream = stream_of(world, store, tmp_path)
    config = replace(QUICK, generations=6, horizon=5, ground_every=3)
    found = search(tmp_path, world, stream, config, RealPlay(ground=pays_first_weight))
    plain = search(tmp_path / "plain", world, stream, replace(config, ground_every=0), RealPlay())
    assert found[0] > 0.15 and found[0] > plain[0] + 0.1
    lines = read_metrics(tmp_path / "controller" / "metrics.jsonl")
    assert [line["ground_steps"] for line in lines] == [2 * 12 * 5] * 6
    lines = read_metrics(tmp_path / "plain" / "controller" / "metrics.jsonl")
    assert all("ground_steps" not in line for line in lines)


def test_a_search_in_a_broken_dream_ends_early_and_one_without_a_limit_does_not(
    tmp_path: Path, store: EpisodeStore, envs: list[TaskEnv]
) -> None:
    world = make_world()
    stream = stream_of(world, store, tmp_path)
    real = RealPlay(ground=make_ground(world, store, envs))
    config = replace(QUICK, num_starts=4, horizon=8, ground_every=1, ground_limit=0.5)
    search(tmp_path, world, stream, config, real)
    lines = read_metrics(tmp_path / "controller" / "metrics.jsonl")
    assert len(lines) == GROUND_PATIENCE
    assert np.mean([float(line["ground_correlation"]) for line in lines]) < 0.5
    config = replace(config, ground_limit=-1.0)
    search(tmp_path / "whole", world, stream, config, real)
    assert len(read_metrics(tmp_path / "whole" / "controller" / "metrics.jsonl")) == 4


class _StopError(Exception):
    """Stands for a kill."""


def test_a_grounded_search_that_is_killed_goes_on_as_if_it_had_not_been(
    tmp_path: Path, store: EpisodeStore
) -> None:
    world = make_world()
    stream = stream_of(world, store, tmp_path)
    config = replace(QUICK, ground_every=2, check_every=3)

    def die(candidates: Tensor, generation: int) -> dict[str, float | str]:
        raise _StopError

    def look(candidates: Tensor, generation: int) -> dict[str, float | str]:
        return {"seen": float(candidates.sum())}

    whole = search(
        tmp_path / "whole", world, stream, config, RealPlay(check=look, ground=pays_first_weight)
    )
    with pytest.raises(_StopError):
        search(
            tmp_path / "cut", world, stream, config, RealPlay(check=die, ground=pays_first_weight)
        )
    resumed = search(
        tmp_path / "cut", world, stream, config, RealPlay(check=look, ground=pays_first_weight)
    )
    assert torch.equal(resumed, whole)
    logs = [
        read_metrics(tmp_path / part / "controller" / "metrics.jsonl") for part in ("whole", "cut")
    ]
    assert logs[0] == logs[1] and len(logs[0]) == 4


def test_at_most_one_real_latent_in_a_hundred_is_above_the_limit_of_norms(
    tmp_path: Path, store: EpisodeStore
) -> None:
    stream = stream_of(make_world(), store, tmp_path)
    above = stream.posteriors[:, 0].norm(dim=1) > norm_quantile(stream)
    assert 0 < above.float().mean() <= 0.01 + 1 / stream.num_frames


def test_grounding_without_a_simulator_and_limits_without_grounding_are_refused(
    tmp_path: Path, store: EpisodeStore
) -> None:
    world = make_world()
    stream = stream_of(world, store, tmp_path)
    with pytest.raises(ConfigError, match="asks for rollouts in the simulator"):
        search(tmp_path, world, stream, replace(QUICK, ground_every=2), RealPlay())
    with pytest.raises(ConfigError, match="Set ground_every too"):
        replace(QUICK, ground_limit=0.5)
    with pytest.raises(ConfigError, match=r"between 0 \(never\) and num_starts \(6\), got 7"):
        replace(QUICK, ground_every=7)
