"""Walkers and landers: grounds, rewards, goals, and the library left as it was."""

import numpy as np
import pytest

from reverie.envs.experts import has_expert, make_expert
from reverie.envs.game_env import GameEnv
from reverie.envs.registry import make_env, task_names, task_spec
from reverie.evaluate.experts import play_blind
from tests.support.simulators import undrawn

pytest.importorskip("Box2D")

from reverie.envs.domains.box2d.lander_world import PAD_Y_M, moon_heights  # noqa: E402
from reverie.envs.domains.box2d.tasks import STEEP  # noqa: E402
from reverie.envs.domains.box2d.terrain import (  # noqa: E402
    BASE_M,
    NUM_POINTS,
    STEP_M,
    TERRAINS,
    make_terrain,
)

IDLE = np.zeros(4, dtype=np.float32)


def open_game(name: str) -> GameEnv:
    env = make_env(name)
    assert isinstance(env, GameEnv)
    return env


@pytest.mark.parametrize("kind", TERRAINS)
def test_ground_has_200_points_and_starts_level_except_in_the_hills(kind: str) -> None:
    heights, blocks = make_terrain(kind, np.random.default_rng(1))
    assert len(heights) == NUM_POINTS
    assert bool(blocks) == (kind == "obstacles")
    if kind != "hills":
        assert np.abs(np.array(heights[:20]) - BASE_M).max() < 1e-9
    # A pit is three steps deep below ground that may itself lie low.
    assert min(heights) >= (1.0 if kind != "obstacles" else 1.5 - 3 * STEP_M)
    assert max(heights) <= 5.5


def test_rugged_ground_is_rougher_than_uneven_and_flat_is_flat() -> None:
    def roughness(kind: str) -> float:
        heights = [make_terrain(kind, np.random.default_rng(seed))[0] for seed in range(5)]
        return float(np.abs(np.diff(heights, n=2)).mean())

    assert roughness("flat") == 0.0
    assert roughness("rugged") > 1.5 * roughness("uneven") > 0.0


def test_pits_are_three_steps_deep_between_two_posts() -> None:
    heights, blocks = make_terrain("obstacles", np.random.default_rng(0))
    assert -np.diff(heights).min() == pytest.approx(3 * STEP_M)
    assert all(len(block) == 4 for block in blocks)


def test_a_fallen_walker_pays_at_every_step_and_the_episode_goes_on() -> None:
    env = open_game("bipedal-walker-flat")
    env.reset(0)
    actions = np.random.default_rng(0).uniform(-1, 1, (120, 4)).astype(np.float32)
    results = [env.step(action) for action in actions]
    assert not any(result.terminated for result in results)
    assert [result.reward for result in results[-5:]] == [-2.0] * 5
    assert all(-2.0 <= result.reward <= 20.0 for result in results)


def test_walkers_see_as_much_as_the_benchmark_says() -> None:
    env = open_game("bipedal-walker-hills")
    env.reset(0)
    assert env.observe_state().shape == (24,)
    module = env.game.world._module  # type: ignore[attr-defined]
    assert (module.SCALE, module.VIEWPORT_W, module.VIEWPORT_H) == (15.0, 224, 224)
    assert pytest.approx(14 / 30) == module.TERRAIN_STEP
    from gymnasium.envs.box2d import bipedal_walker

    assert (bipedal_walker.SCALE, bipedal_walker.VIEWPORT_W) == (30.0, 600)


@pytest.mark.parametrize("num_points", [7, 9])
def test_the_pad_lies_in_the_middle_of_the_moon(num_points: int) -> None:
    heights = moon_heights(num_points, np.random.default_rng(2))
    middle = num_points // 2
    pad = heights[middle - 1 : middle + 2]
    assert pad == pytest.approx([0.99 * PAD_Y_M] * 3)
    assert len(set(heights)) > 3 or num_points == 7


def test_hovering_at_the_goal_pays_almost_one_per_simulation_step() -> None:
    env = open_game("lunarlander-hover")
    env.reset(4)
    result = env.step(np.zeros(2, dtype=np.float32))
    way = env.observe_state()[8:] * 20 / 3
    assert result.reward == pytest.approx(2 * (1 - np.hypot(*way) / 6), abs=0.05)


def test_a_lander_that_takes_off_starts_on_the_pad_and_low_flight_pays_nothing() -> None:
    env = open_game("lunarlander-takeoff")
    rewards = []
    for seed in range(5):
        env.reset(seed)
        state = env.observe_state()
        assert abs(state[1]) < 0.05
        rewards.append(env.step(np.array([-1, 0], dtype=np.float32)).reward)
    assert min(rewards) == 0.0


def test_a_crashed_lander_goes_on_paying() -> None:
    env = open_game("lunarlander-land")
    env.reset(1)
    side = np.array([-1, 1], dtype=np.float32)
    rewards = [env.step(side).reward for _ in range(120)]
    assert -0.5 in rewards
    assert rewards.count(-0.5) > 20 or rewards[-1] == 1.0


@pytest.mark.parametrize("name", [n for n in task_names() if task_spec(n).domain == "box2d"])
def test_a_snapshot_repeats_what_followed_in_another_environment_too(name: str) -> None:
    env, other = open_game(name), open_game(name)
    actions = np.random.default_rng(3).uniform(-1, 1, (30, env.spec.action.width))
    actions = actions.astype(np.float32)
    env.reset(9)
    for action in actions[:15]:
        env.step(action)
    snapshot = env.save()
    onward = [env.step(action) for action in actions[15:]]
    other.restore(snapshot)
    for action, expected in zip(actions[15:], onward, strict=True):
        result = other.step(action)
        assert result.reward == expected.reward
        np.testing.assert_array_equal(result.frame, expected.frame)


@pytest.mark.parametrize(
    ("name", "least"), [("bipedal-walker-flat", 0.4), ("lunarlander-hover", 0.4)]
)
def test_an_expert_reaches_a_score_that_noise_never_does(name: str, least: float) -> None:
    env = open_game(name)
    with undrawn(env):
        outcome = play_blind(env, make_expert(name), seed=0)
    assert outcome.score > least


def test_grounds_on_which_the_gait_falls_have_no_expert() -> None:
    lacking = {name for name in task_names() if name.startswith("bipedal") and not has_expert(name)}
    assert lacking == {f"bipedal-walker-{ground}" for ground in STEEP}
