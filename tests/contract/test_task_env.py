"""What every game of ours promises; test_simulated_task_env.py has the foreign simulators."""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from reverie.core.errors import ConfigError, ReverieError, ShapeError
from reverie.core.types import FrameSpec
from reverie.envs.api import StepResult, TaskEnv
from reverie.envs.registry import make_env, task_names, task_spec

NAMES = tuple(name for name in task_names() if task_spec(name).extra is None)
SMALL = FrameSpec(height_px=64, width_px=64)


@pytest.fixture(params=NAMES)
def env(request: pytest.FixtureRequest) -> Iterator[TaskEnv]:
    env = make_env(request.param)
    yield env
    env.close()


def random_actions(env: TaskEnv, count: int, seed: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1.0, 1.0, (count, env.spec.action.width)).astype(np.float32)


def roll(env: TaskEnv, actions: np.ndarray) -> list[StepResult]:
    results: list[StepResult] = []
    for action in actions:
        results.append(env.step(action))
        if results[-1].terminated or results[-1].truncated:
            break
    return results


def assert_same(left: list[StepResult], right: list[StepResult]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one.frame, other.frame)
        assert (one.reward, one.terminated, one.truncated) == (
            other.reward,
            other.terminated,
            other.truncated,
        )
        assert dict(one.info) == dict(other.info)


@pytest.mark.parametrize("name", NAMES)
def test_a_spec_is_sane_and_survives_pickling(name: str) -> None:
    spec = task_spec(name)
    assert spec.name == name
    assert spec.instruction.strip()
    assert spec.score_rule.strip()
    assert len(spec.action_names) == spec.action.width
    assert spec.max_steps > 0
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_frames_are_rgb_bytes_of_the_native_size_by_default(env: TaskEnv) -> None:
    frame = env.reset(0)
    result = env.step(random_actions(env, 1)[0])
    for picture in (frame, result.frame):
        assert picture.shape == (224, 224, 3)
        assert picture.dtype == np.uint8
        assert picture.std() > 1.0


@pytest.mark.parametrize(
    "name", [name for name in NAMES if task_spec(name).domain in ("miniarcade", "toy")]
)
def test_a_smaller_frame_is_the_area_mean_of_the_native_one(name: str) -> None:
    native, small = make_env(name), make_env(name, frame_spec=FrameSpec(height_px=56, width_px=56))
    actions = random_actions(native, 3)
    frames = [(native.reset(3), small.reset(3))]
    for action in actions:
        frames.append((native.step(action).frame, small.step(action).frame))
    for large, little in frames:
        means = large.reshape(56, 4, 56, 4, 3).mean(axis=(1, 3))
        assert np.abs(means - little).max() <= 0.5 + 1e-9
    assert make_env(name, frame_spec=SMALL).reset(3).shape == (64, 64, 3)


def test_the_same_seed_and_actions_give_the_same_episode(env: TaskEnv) -> None:
    actions = random_actions(env, 25)
    first_frame = env.reset(7)
    first = roll(env, actions)
    env.reset(8)
    roll(env, actions[:5])
    np.testing.assert_array_equal(env.reset(7), first_frame)
    assert_same(roll(env, actions), first)


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_environment_repeats_a_used_one(name: str) -> None:
    used, fresh = make_env(name), make_env(name)
    actions = random_actions(used, 60)
    used.reset(1)
    roll(used, actions)
    np.testing.assert_array_equal(used.reset(2), fresh.reset(2))
    assert_same(roll(used, actions), roll(fresh, actions))


def test_other_seeds_start_elsewhere(env: TaskEnv) -> None:
    frames = [env.reset(seed) for seed in range(6)]
    # Bird attack starts alike each time, until the first bird drops something.
    actions = random_actions(env, 30)
    ends: list[bytes] = []
    for seed in range(6):
        env.reset(seed)
        ends.append(roll(env, actions)[-1].frame.tobytes())
    assert len({frame.tobytes() for frame in frames} | set(ends)) > 6


def test_a_snapshot_can_be_restored_twice_exactly(env: TaskEnv) -> None:
    actions = random_actions(env, 40)
    env.reset(4)
    shown = roll(env, actions[:12])[-1].frame
    snapshot = env.save()
    onward = roll(env, actions[12:])
    for _ in range(2):
        np.testing.assert_array_equal(env.restore(snapshot), shown)
        assert_same(roll(env, actions[12:]), onward)
    env.reset(99)
    np.testing.assert_array_equal(env.restore(snapshot), shown)
    assert_same(roll(env, actions[12:]), onward)


@pytest.mark.parametrize("name", NAMES)
def test_a_snapshot_moves_to_an_environment_of_another_frame_size(name: str) -> None:
    native, small = make_env(name), make_env(name, frame_spec=SMALL)
    actions = random_actions(native, 12)
    for env in (native, small):
        env.reset(4)
        roll(env, actions[:6])
    shown = small.restore(small.save())
    np.testing.assert_array_equal(small.restore(native.save()), shown)
    rewards = [[result.reward for result in roll(env, actions[6:])] for env in (native, small)]
    assert rewards[0] == rewards[1]


def test_a_snapshot_of_another_task_is_refused(env: TaskEnv) -> None:
    other = make_env(next(name for name in NAMES if name != env.spec.name))
    other.reset(0)
    with pytest.raises(ConfigError, match="can only restore its own snapshots"):
        env.restore(other.save())


def test_handing_out_a_frame_gives_the_caller_a_copy(env: TaskEnv) -> None:
    env.reset(0)
    result = env.step(random_actions(env, 1)[0])
    shown = result.frame.copy()
    snapshot = env.save()
    result.frame[:] = 0
    np.testing.assert_array_equal(env.restore(snapshot), shown)


def test_actions_outside_the_range_act_like_the_nearest_end(env: TaskEnv) -> None:
    actions = np.sign(random_actions(env, 10))
    env.reset(2)
    clipped = roll(env, actions)
    env.reset(2)
    assert_same(roll(env, 3.0 * actions), clipped)


def test_an_action_of_the_wrong_width_is_refused_by_name(env: TaskEnv) -> None:
    env.reset(0)
    width = env.spec.action.width
    with pytest.raises(ShapeError, match=f"'{env.spec.name}' takes {width} finite action lane"):
        env.step(np.zeros(width + 1, dtype=np.float32))
    with pytest.raises(ShapeError, match="finite"):
        env.step(np.full(width, np.nan, dtype=np.float32))


def test_stepping_outside_an_episode_says_to_reset(env: TaskEnv) -> None:
    with pytest.raises(ReverieError, match=r"Call reset\(seed\) first"):
        env.step(random_actions(env, 1)[0])


@pytest.mark.parametrize("name", NAMES)
def test_an_episode_ends_at_its_limit_or_by_the_task_and_scores_within_bounds(name: str) -> None:
    env = make_env(name, frame_spec=SMALL)
    env.reset(6)
    results = roll(env, random_actions(env, env.spec.max_steps + 5))
    for result in results:
        assert 0.0 <= result.info["score"] <= 1.0
        assert isinstance(result.info["success"], bool)
        assert np.isfinite(result.reward)
    assert not any(result.truncated or result.terminated for result in results[:-1])
    if not env.spec.can_terminate:
        assert len(results) == env.spec.max_steps
    assert results[-1].truncated == (len(results) == env.spec.max_steps)
    assert results[-1].terminated or results[-1].truncated
    with pytest.raises(ReverieError, match="outside an episode"):
        env.step(random_actions(env, 1)[0])


def test_reading_the_state_vector_changes_nothing(env: TaskEnv) -> None:
    actions = random_actions(env, 8)
    env.reset(1)
    unread = roll(env, actions)
    env.reset(1)
    read: list[StepResult] = []
    for action in actions:
        vector = env.observe_state()
        assert vector.ndim == 1
        assert vector.dtype == np.float32
        np.testing.assert_array_equal(vector, env.observe_state())
        vector[:] = 0.0
        read.append(env.step(action))
    assert_same(read, unread)


def in_fresh_interpreter(code: str) -> str:
    # The set-up of the tests silences pygame; a user's shell does not.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYGAME")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


LISTING = """
import sys
from reverie.envs.experts import has_expert
from reverie.envs.registry import task_names, task_spec
for name in task_names():
    task_spec(name), has_expert(name)
print([name for name in ("torch", "pygame", "cv2", "gymnasium") if name in sys.modules])
"""
MAKING = """
import sys
from reverie.envs.registry import make_env
make_env("pygame-pong").reset(0)
print("torch" in sys.modules)
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [(LISTING, "[]"), (MAKING, "False")],
    ids=["listing imports no simulator", "making a game neither imports torch nor prints"],
)
def test_imports_stay_lazy(code: str, expected: str) -> None:
    assert in_fresh_interpreter(code) == expected
