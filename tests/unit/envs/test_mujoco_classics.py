"""The MuJoCo tasks against gymnasium's own classes."""

import importlib
from typing import Any

import numpy as np
import pytest

from reverie.core.types import FrameSpec
from reverie.envs.domains.mujoco.game import ClassicGame
from reverie.envs.domains.mujoco.tasks import TASKS
from reverie.envs.mujoco_renderer import MujocoRenderer, reduce_bilinear
from tests.support.simulators import SMALL, open_task

NAMES = tuple(spec.name for spec in TASKS)
LIBRARY = {
    "mujoco-ant": ("ant_v4", "AntEnv"),
    "mujoco-halfcheetah": ("half_cheetah_v4", "HalfCheetahEnv"),
    "mujoco-hopper": ("hopper_v4", "HopperEnv"),
    "mujoco-inverted-pendulum": ("inverted_pendulum_v4", "InvertedPendulumEnv"),
    "mujoco-reacher": ("reacher_v4", "ReacherEnv"),
    "mujoco-walker": ("walker2d_v4", "Walker2dEnv"),
}
RNG = np.random.default_rng(0)


def open_game(name: str, frame_spec: FrameSpec = SMALL) -> ClassicGame:
    game = open_task(name, frame_spec).game
    assert isinstance(game, ClassicGame)
    return game


def load_package(name: str, **arguments: Any) -> Any:
    module, kind = LIBRARY[name]
    return getattr(importlib.import_module(f"gymnasium.envs.mujoco.{module}"), kind)(**arguments)


@pytest.mark.parametrize("name", NAMES)
def test_a_task_pays_like_gymnasium_while_nothing_has_fallen(name: str) -> None:
    game, repeat = open_game(name), open_task(name).spec.action_repeat
    package = load_package(name)
    package.reset(seed=int(np.random.default_rng(5).integers(2**32)))
    game.reset(np.random.default_rng(5))
    high = package.action_space.high
    rng = np.random.default_rng(1)
    for _ in range(4):
        action = rng.uniform(-0.1, 0.1, len(high)).astype(np.float32)
        wanted = sum(float(package.step(action * high)[1]) for _ in range(repeat))
        assert game.step(action, rng) == pytest.approx(wanted, abs=1e-9)
    np.testing.assert_array_equal(game.state_vector(), package._get_obs().astype(np.float32))
    game.close()


@pytest.mark.parametrize("name", ["mujoco-halfcheetah", "mujoco-walker"])
def test_release_pictures_are_the_package_s_own_reduced(name: str) -> None:
    game = open_game(name, FrameSpec())
    game.reset(np.random.default_rng(5))
    renderer = MujocoRenderer(
        game.environment.model, FrameSpec(), camera="track", quality="release", release_px=480
    )
    ours = renderer.draw(game.environment.data)
    renderer.close()
    fast = game.draw(RNG)
    game.close()
    # The package's context comes last: it does not notice that others draw in its thread.
    package = load_package(name, render_mode="rgb_array", camera_name="track")
    package.reset(seed=int(np.random.default_rng(5).integers(2**32)))
    theirs = reduce_bilinear(package.render(), FrameSpec())
    package.close()
    np.testing.assert_array_equal(ours, theirs)
    assert np.abs(fast.astype(int) - theirs).mean() < 4.0


def test_the_pendulum_is_paid_until_it_falls_and_never_again() -> None:
    game = open_game("mujoco-inverted-pendulum")
    game.reset(np.random.default_rng(0))
    push = np.ones(1, dtype=np.float32)
    paid = [game.step(push, RNG) for _ in range(30)]
    fall = next(index for index, reward in enumerate(paid) if reward < 2.0)
    assert fall > 0
    assert set(paid[:fall]) == {2.0}
    assert set(paid[fall + 1 :]) == {0.0}
    # Set upright again, it stays unpaid; a snapshot from before the fall is paid again.
    game.environment.set_state(np.zeros(2), np.zeros(2))
    assert game.step(np.zeros(1, dtype=np.float32), RNG) == 0.0
    game.reset(np.random.default_rng(0))
    before = game.state
    for _ in range(30):
        game.step(push, RNG)
    game.state = before
    assert game.step(push, RNG) == 2.0
    game.close()


@pytest.mark.parametrize("name", ["mujoco-hopper", "mujoco-walker"])
def test_an_unhealthy_step_costs_one_and_no_step_costs_more(name: str) -> None:
    game = open_game(name)
    game.reset(np.random.default_rng(0))
    rng = np.random.default_rng(2)
    width = game.environment.action_space.shape[0]
    paid: list[float] = []
    for _ in range(80):
        paid.append(game.step(rng.uniform(-1.0, 1.0, width).astype(np.float32), rng))
    assert paid[0] > 0.0
    assert paid[-1] == -2.0
    assert min(paid) == -2.0
    assert not game.environment.is_healthy
    game.close()


def test_scores_follow_the_ranges_of_the_benchmark() -> None:
    reacher, cheetah = open_game("mujoco-reacher"), open_game("mujoco-halfcheetah")
    assert [reacher.score(value) for value in (-80.0, -50.0, -25.0, 0.0)] == [0.0, 0.0, 0.5, 1.0]
    assert [cheetah.score(value) for value in (-10.0, 7500.0, 16000.0)] == [0.0, 0.5, 1.0]
    reacher.close()
    cheetah.close()
