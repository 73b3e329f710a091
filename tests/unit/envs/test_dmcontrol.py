"""DMControl tasks against the package itself, undrawn: the pictures have their own test."""

from typing import Any

import numpy as np
import pytest

from reverie.core.types import FrameSpec
from reverie.envs.domains.dmcontrol.game import SuiteGame
from reverie.envs.domains.dmcontrol.tasks import TASKS
from reverie.envs.registry import make_env
from tests.support.simulators import open_task

STOCK = tuple(spec.name for spec in TASKS if not spec.name.endswith("-var1"))
VARIANTS = tuple(spec.name for spec in TASKS if spec.name.endswith("-var1"))
NUM_STEPS = 12


def open_game(name: str) -> SuiteGame:
    game = open_task(name).game
    assert isinstance(game, SuiteGame)
    return game


def load_package(name: str, seed: int) -> Any:
    from dm_control import suite
    from dm_control.suite.wrappers import action_scale

    domain, _, task = name.partition("-")
    domain = {"cup": "ball_in_cup"}.get(domain, domain)
    stock = suite.load(domain, task.replace("-", "_"), task_kwargs={"random": seed})
    return action_scale.Wrapper(stock, minimum=-1.0, maximum=1.0)


def qpos_of(game: SuiteGame) -> np.ndarray:
    return game._data.qpos.copy()


@pytest.mark.parametrize("name", STOCK)
def test_a_stock_task_pays_and_moves_like_the_package(name: str) -> None:
    game = open_game(name)
    seed = int(np.random.default_rng(5).integers(2**32))
    package = load_package(name, seed)
    first = package.reset()
    game.reset(np.random.default_rng(5))
    np.testing.assert_array_equal(qpos_of(game), package.physics.data.qpos)
    observed = np.concatenate([np.ravel(part) for part in first.observation.values()])
    np.testing.assert_array_equal(game.state_vector(), observed.astype(np.float32))
    rng = np.random.default_rng(1)
    for _ in range(NUM_STEPS):
        action = rng.uniform(-1.0, 1.0, len(game._low)).astype(np.float32)
        wanted = sum(package.step(action.astype(np.float64)).reward for _ in range(2))
        assert game.step(action, rng) == pytest.approx(wanted, abs=1e-12)
    np.testing.assert_allclose(qpos_of(game), package.physics.data.qpos, rtol=0, atol=1e-12)
    assert package._step_limit == 1000
    game.close()


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_differs_from_its_stock_task_in_colours_only(name: str) -> None:
    stock = make_env(name.removesuffix("-var1"), frame_spec=FrameSpec())
    variant = make_env(name, frame_spec=FrameSpec())
    frames = [stock.reset(3), variant.reset(3)]
    rng = np.random.default_rng(2)
    for _ in range(8):
        action = rng.uniform(-1.0, 1.0, 2).astype(np.float32)
        results = [stock.step(action), variant.step(action)]
        assert results[0].reward == results[1].reward
    np.testing.assert_array_equal(stock.observe_state(), variant.observe_state())
    sky = frames[1][:12].reshape(-1, 3)
    assert (sky == sky[0]).all(axis=1).mean() > 0.9  # flat, without stars
    floor_row = frames[1][170].astype(int)
    assert (floor_row[:, 0] > floor_row[:, 1]).all()  # violet; the stock floor is blue
    assert (frames[0][170, :, 0] < frames[0][170, :, 1]).all()
    stock.close()
    variant.close()


def test_actions_span_the_bounds_of_every_actuator() -> None:
    game = open_game("quadruped-walk")
    low, high = game._model.actuator_ctrlrange.T
    assert not np.all(np.abs(high) == 1.0)
    for action, bound in ((-1.0, low), (1.0, high)):
        game.step(np.full(12, action, dtype=np.float32), np.random.default_rng(0))
        np.testing.assert_allclose(game._data.ctrl, bound, atol=1e-12)
    game.close()


def test_a_full_return_scores_one() -> None:
    game = open_game("cartpole-balance")
    assert (game.score(0.0), game.score(500.0), game.score(1000.0)) == (0.0, 0.5, 1.0)
    game.reset(np.random.default_rng(0))
    still = np.zeros(1, dtype=np.float32)
    paid = [game.step(still, np.random.default_rng(0)) for _ in range(10)]
    assert 1.8 < min(paid) <= max(paid) <= 2.0  # two control steps of a pole that nearly stands
    game.close()
