"""What the Meta-World adapter adds to the package, and what it must not change."""

from collections.abc import Iterator

import numpy as np
import pytest

from reverie.envs.experts import make_expert
from reverie.envs.game_env import GameEnv
from reverie.envs.registry import task_names
from tests.support.simulators import open_task, undrawn

NAMES = tuple(name for name in task_names() if name.startswith("mw-"))


@pytest.fixture
def opened(request: pytest.FixtureRequest) -> Iterator[GameEnv]:
    env = open_task(request.param)
    with undrawn(env):
        yield env
    env.close()


def reset_package(game: object, seed: int) -> object:
    """Build the package's own environment as the benchmark does, for comparison."""
    import mujoco
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE

    package = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE["drawer-open-v3-goal-observable"](seed=0)
    package.model.eq_data[package.model.eq_type == mujoco.mjtEq.mjEQ_WELD, 10] = 3.75
    package._freeze_rand_vec, package.seeded_rand_vec = False, True
    package.seed(seed)
    package.reset()
    package.step(np.zeros(4))
    return package


def test_there_are_forty_nine_tasks() -> None:
    assert len(NAMES) == 49


@pytest.mark.parametrize("opened", ["mw-drawer-open"], indirect=True)
def test_an_episode_is_the_packages_own_with_rewards_of_two_steps_summed(opened: GameEnv) -> None:
    opened.reset(11)
    package = reset_package(opened.game, opened.game.state.seed)
    for action in np.random.default_rng(0).uniform(-1, 1, (15, 4)).astype(np.float32):
        result = opened.step(action)
        ours = opened.observe_state()
        theirs = [package.step(action) for _ in range(2)]
        assert result.reward == pytest.approx(sum(float(step[1]) for step in theirs))
        np.testing.assert_allclose(ours, theirs[-1][0], atol=1e-6)


@pytest.mark.parametrize("name", ["mw-drawer-open", "mw-button-press", "mw-basketball"])
def test_no_mirror_is_in_the_picture(name: str) -> None:
    import mujoco

    env = open_task(name)
    without = env.reset(2)
    renderer = env.game._renderer  # type: ignore[attr-defined]
    flags = renderer._renderer.scene.flags
    assert flags[mujoco.mjtRndFlag.mjRND_REFLECTION] == 0
    flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 1
    np.testing.assert_array_equal(env.game.draw(np.random.default_rng(0)), without)
    env.close()


@pytest.mark.parametrize("opened", ["mw-button-press-topdown-wall"], indirect=True)
def test_the_wall_button_pays_for_a_closed_gripper(opened: GameEnv) -> None:
    rewards = {}
    for grip in (-1.0, 1.0):
        opened.reset(3)
        rewards[grip] = sum(
            opened.step(np.array([0, 0, 0, grip], dtype=np.float32)).reward for _ in range(10)
        )
    assert rewards[1.0] > rewards[-1.0]


@pytest.mark.parametrize("opened", ["mw-reach", "mw-door-open"], indirect=True)
def test_each_seed_places_another_goal_and_every_episode_shows_it(opened: GameEnv) -> None:
    goals = []
    for seed in range(4):
        opened.reset(seed)
        goals.append(tuple(opened.observe_state()[-3:].tolist()))
    assert len(set(goals)) == 4
    assert all(any(goal) for goal in goals)


@pytest.mark.parametrize("opened", ["mw-drawer-open", "mw-window-close"], indirect=True)
def test_the_expert_solves_the_task_and_keeps_it_solved(opened: GameEnv) -> None:
    expert = make_expert(opened.spec.name)
    opened.reset(5)
    expert.start(opened, np.random.default_rng(0))
    results = [opened.step(expert.act(opened, step)) for step in range(opened.spec.max_steps)]
    assert results[-1].info["success"]
    assert results[-1].info["score"] == 1.0
