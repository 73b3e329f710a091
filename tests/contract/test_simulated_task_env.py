"""What every task of a foreign simulator promises; frames are few, because they are dear."""

import pickle
from collections.abc import Iterator

import numpy as np
import pytest

from reverie.core.errors import ReverieError, ShapeError
from reverie.core.types import FrameSpec
from reverie.envs.api import StepResult
from reverie.envs.domains.maniskill.make import has_assets
from reverie.envs.game_env import GameEnv
from reverie.envs.registry import task_names, task_spec
from tests.support.simulators import open_task, undrawn

NAMES = tuple(name for name in task_names() if task_spec(name).extra is not None)
WHOLE = tuple(name for name in NAMES if task_spec(name).assets is None or has_assets(name))
"""Tasks whose files are here; those of the others are on a hub (test_maniskill.py)."""
SLOW = (
    *("rd-push-green", "rd-push-blue", "rd-open-slide", "rd-open-drawer"),
    *(name for name in NAMES if name.startswith("atari-") and name > "atari-c"),
)
"""A frame of the desk takes most of a second; two of its tasks stand for all in the short run, and
six games for all of one console."""
LATE = {"VizdoomTakeCover-v1": 60, "takecover-close": 60}
"""Steps until chance shows, where that is not at once."""
PARAMETERS = [
    pytest.param(name, marks=pytest.mark.long) if name in SLOW else name for name in WHOLE
]


@pytest.fixture(scope="module", params=PARAMETERS)
def env(request: pytest.FixtureRequest) -> Iterator[GameEnv]:
    made = open_task(request.param)
    yield made
    made.close()


@pytest.fixture
def fresh(env: GameEnv) -> Iterator[GameEnv]:
    made = open_task(env.spec.name, FrameSpec(height_px=48, width_px=32))
    yield made
    made.close()


def random_actions(env: GameEnv, count: int, seed: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1.0, 1.0, (count, env.spec.action.width)).astype(np.float32)


def roll(env: GameEnv, actions: np.ndarray) -> list[tuple[object, ...]]:
    """Step without drawing; return all else that a step gives."""
    outcomes: list[tuple[object, ...]] = []
    with undrawn(env):
        for action in actions:
            result = env.step(action)
            ends = (result.reward, result.terminated, result.truncated)
            outcomes.append((*ends, dict(result.info), env.observe_state().tolist()))
            if result.terminated or result.truncated:
                break
    return outcomes


@pytest.mark.parametrize("name", NAMES)
def test_a_spec_is_sane_and_survives_pickling(name: str) -> None:
    spec = task_spec(name)
    assert spec.name == name
    assert spec.instruction.strip()
    assert spec.score_rule.strip()
    assert len(spec.action_names) == spec.action.width
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_frames_have_the_asked_size_and_show_something(env: GameEnv) -> None:
    frame = env.reset(0)
    result = env.step(random_actions(env, 1)[0])
    for picture in (frame, result.frame):
        assert picture.shape == env.frame_spec.shape
        assert picture.dtype == np.uint8
        assert picture.std() > 1.0


def test_seed_and_actions_decide_the_episode_in_a_used_and_in_a_fresh_one(
    env: GameEnv, fresh: GameEnv
) -> None:
    actions = random_actions(env, LATE.get(env.spec.name, 20))
    first_frame = env.reset(7)
    first = roll(env, actions)
    with undrawn(env):
        env.reset(8)
    other = roll(env, actions)
    np.testing.assert_array_equal(env.reset(7), first_frame)
    assert roll(env, actions) == first
    assert (other != first) == env.spec.has_random_start
    with undrawn(fresh):
        fresh.reset(7)
    assert roll(fresh, actions) == first


def test_a_snapshot_goes_on_exactly_here_and_in_another_environment(
    env: GameEnv, fresh: GameEnv
) -> None:
    actions = random_actions(env, 20)
    env.reset(4)
    roll(env, actions[:7])
    shown = env.step(actions[7]).frame
    snapshot = env.save()
    onward = roll(env, actions[8:])
    np.testing.assert_array_equal(env.restore(snapshot), shown)
    assert roll(env, actions[8:]) == onward
    with undrawn(env):
        env.reset(99)
    np.testing.assert_array_equal(env.restore(snapshot), shown)
    assert roll(env, actions[8:]) == onward
    frame = fresh.restore(snapshot)
    assert frame.shape == fresh.frame_spec.shape
    np.testing.assert_array_equal(fresh.restore(fresh.save()), frame)
    assert roll(fresh, actions[8:]) == onward


def test_reading_the_state_vector_changes_nothing(env: GameEnv) -> None:
    with undrawn(env):
        env.reset(1)
        vector = env.observe_state()
        assert vector.ndim == 1
        assert vector.dtype == np.float32
        assert np.isfinite(vector).all()
        vector[:] = 0.0
        assert env.observe_state().any()


def test_actions_outside_the_range_act_like_the_nearest_end(env: GameEnv) -> None:
    actions = np.sign(random_actions(env, 5))
    with undrawn(env):
        env.reset(2)
        clipped = roll(env, actions)
        env.reset(2)
    assert roll(env, 3.0 * actions) == clipped


def test_an_action_of_the_wrong_width_is_refused_by_name(env: GameEnv) -> None:
    width = env.spec.action.width
    with undrawn(env):
        env.reset(0)
    with pytest.raises(ShapeError, match=f"'{env.spec.name}' takes {width} finite action lane"):
        env.step(np.zeros(width + 1, dtype=np.float32))
    with pytest.raises(ShapeError, match="finite"):
        env.step(np.full(width, np.nan, dtype=np.float32))


def test_an_episode_ends_at_its_limit_and_scores_within_bounds(env: GameEnv) -> None:
    results: list[StepResult] = []
    with undrawn(env):
        env.reset(6)
        for action in random_actions(env, env.spec.max_steps):
            results.append(env.step(action))
            if results[-1].terminated or results[-1].truncated:
                break
    for result in results:
        assert 0.0 <= result.info["score"] <= 1.0
        assert isinstance(result.info["success"], bool)
        assert np.isfinite(result.reward)
    if not env.spec.can_terminate:
        assert len(results) == env.spec.max_steps
    assert results[-1].truncated == (len(results) == env.spec.max_steps)
    with pytest.raises(ReverieError, match="outside an episode"):
        env.step(random_actions(env, 1)[0])


def test_the_global_generator_is_neither_read_nor_moved(env: GameEnv) -> None:
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    with undrawn(env):
        env.reset(1)
        one = roll(env, random_actions(env, 2))
        np.testing.assert_array_equal(np.random.get_state()[1], before)
        np.random.seed(4)
        env.reset(1)
    assert roll(env, random_actions(env, 2)) == one
