"""The expert that plans on a true copy of the simulator."""

from dataclasses import replace

import numpy as np
import pytest

from reverie.core.errors import ConfigError
from reverie.core.types import FrameSpec
from reverie.envs.experts import make_expert
from reverie.envs.game_env import GameEnv
from reverie.envs.oracle import OracleConfig, OraclePlanner
from reverie.envs.registry import make_env, task_names, task_spec
from tests.support.simulators import open_task, undrawn

SHORT = OracleConfig(horizon=8, num_knots=3, num_candidates=10)
PLANNED = tuple(
    name
    for name in task_names()
    if task_spec(name).domain in ("dmcontrol", "dmcontrol-ext", "mujoco", "atari")
)


def toy(name: str) -> GameEnv:
    env = make_env(name, frame_spec=FrameSpec(height_px=16, width_px=16))
    assert isinstance(env, GameEnv)
    return env


def play(env: GameEnv, planner: OraclePlanner, num_steps: int, seed: int = 0) -> float:
    env.reset(seed)
    planner.start(env, np.random.default_rng(seed))
    total = 0.0
    for step in range(num_steps):
        result = env.step(planner.act(env, step))
        total += result.reward
        if result.terminated or result.truncated:
            break
    return total


def noise(env: GameEnv, num_steps: int, seed: int = 0) -> float:
    env.reset(seed)
    rng = np.random.default_rng(seed)
    width = env.spec.action.width
    actions = rng.uniform(-1.0, 1.0, (num_steps, width)).astype(np.float32)
    return sum(env.step(action).reward for action in actions)


def test_planning_finds_more_reward_than_noise_in_a_game_of_ours() -> None:
    env = toy("toy-paint")
    planned = play(env, OraclePlanner(env.spec, SHORT), 40)
    assert planned > noise(env, 40) + 5.0


def test_planning_changes_nothing_in_the_environment_it_acts_in() -> None:
    env, untouched = toy("toy-paint"), toy("toy-paint")
    env.reset(3)
    untouched.reset(3)
    planner = OraclePlanner(env.spec, SHORT)
    planner.start(env, np.random.default_rng(0))
    for step in range(6):
        action = planner.act(env, step)
        one, other = env.step(action), untouched.step(action)
        np.testing.assert_array_equal(one.frame, other.frame)
        assert one.reward == other.reward


def test_the_same_stream_plans_the_same_actions() -> None:
    env = toy("toy-fall")
    first, second = OraclePlanner(env.spec, SHORT), OraclePlanner(env.spec, SHORT)
    assert play(env, first, 10, seed=4) == play(env, second, 10, seed=4)
    np.testing.assert_array_equal(first._plan, second._plan)


def test_the_arm_reaches_its_target_and_stays_where_noise_hardly_passes() -> None:
    env = open_task("reacher-easy")
    planner = make_expert("reacher-easy")
    assert isinstance(planner, OraclePlanner)
    with undrawn(env):
        assert noise(env, 40) < 20.0
        assert play(env, planner, 40) > 40.0
    env.close()


def test_the_pendulum_of_gymnasium_is_held_up() -> None:
    env = open_task("mujoco-inverted-pendulum")
    planner = make_expert("mujoco-inverted-pendulum")
    assert isinstance(planner, OraclePlanner)
    with undrawn(env):
        assert play(env, planner, 40) == 80.0
        assert noise(env, 40) < 40.0
    env.close()


@pytest.mark.parametrize("name", PLANNED)
def test_every_task_of_these_domains_names_an_expert_that_can_be_made(name: str) -> None:
    assert isinstance(make_expert(name), OraclePlanner)


def test_an_environment_of_another_task_is_refused_by_name() -> None:
    env = toy("toy-paint")
    env.reset(0)
    with pytest.raises(ConfigError, match="oracle of 'toy-fall' plans for that task only"):
        OraclePlanner(task_spec("toy-fall")).start(env, np.random.default_rng(0))


def test_plans_that_cannot_be_followed_are_refused() -> None:
    with pytest.raises(ConfigError, match="between 1 and horizon"):
        OracleConfig(horizon=3, num_knots=2, replan_every=4)
    with pytest.raises(ConfigError, match="at least 3 candidates"):
        OracleConfig(num_candidates=2)


def test_a_held_plan_changes_only_from_knot_to_knot() -> None:
    env = toy("toy-paint")
    config = replace(SHORT, horizon=9, num_knots=3, is_held=True)
    planner = OraclePlanner(env.spec, config)
    env.reset(0)
    planner.start(env, np.random.default_rng(0))
    planner.act(env, 0)
    changes = np.abs(np.diff(planner._plan, axis=0)).max(axis=1) > 0
    assert changes.any() and set(np.flatnonzero(changes)) <= {2, 5}
