"""The one loop that steps a simulator."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from reverie.core.types import FrameSpec
from reverie.envs.api import Policy, StepResult, TaskEnv
from reverie.envs.domains.toy.paint import decode_frame
from reverie.envs.episode import play_episode
from reverie.envs.registry import make_env

SMALL = FrameSpec(height_px=64, width_px=64)


class Drifting:
    """Draws a parameter, overshoots the range, and changes its behaviour's name midway."""

    name = "drifting"

    def __init__(self, *, switch_at: int = 10**9) -> None:
        self._switch_at = switch_at
        self._step = 0

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        self._rng = rng
        return {"scale": 1.5}

    def act(self, env: TaskEnv, step: int) -> np.ndarray:
        self._step = step
        return self._rng.uniform(-1.5, 1.5, env.spec.action.width).astype(np.float32)

    def behaviour(self) -> str:
        return "late" if self._step >= self._switch_at else "early"


def test_the_policy_of_this_file_satisfies_the_protocol() -> None:
    assert isinstance(Drifting(), Policy)


@pytest.mark.parametrize("size", [224, 64, 16])
@pytest.mark.parametrize("task", ["toy-paint", "toy-fall"])
def test_each_frame_shows_the_action_and_reward_that_led_to_it(task: str, size: int) -> None:
    env = make_env(task, frame_spec=FrameSpec(height_px=size, width_px=size))
    episode = play_episode(env, Drifting(), seed=2)
    action, reward = decode_frame(episode.frames[0])
    assert (*action, reward) == (0.0, 0.0, 0.0)
    for step in range(episode.num_steps):
        action, reward = decode_frame(episode.frames[step + 1])
        np.testing.assert_allclose(action, episode.actions[step], atol=1 / 127)
        assert reward == pytest.approx(float(episode.rewards[step]), abs=1 / 127)


def test_an_episode_records_what_was_played() -> None:
    env = make_env("pygame-reacher-easy", frame_spec=SMALL)
    seen: list[tuple[int, StepResult]] = []
    episode = play_episode(
        env,
        Drifting(switch_at=5),
        seed=11,
        max_steps=12,
        on_step=lambda step, result: seen.append((step, result)),
    )
    assert (episode.task, episode.source, episode.seed) == ("pygame-reacher-easy", "drifting", 11)
    assert episode.frames.shape == (13, 64, 64, 3)
    assert episode.actions.shape == (12, 2)
    assert np.abs(episode.actions).max() == 1.0
    assert episode.behaviours == ("early",) * 5 + ("late",) * 7
    assert episode.parameters == {"scale": 1.5}
    assert [step for step, _ in seen] == list(range(12))
    np.testing.assert_array_equal(seen[-1][1].frame, episode.frames[-1])
    assert episode.score == seen[-1][1].info["score"]
    assert not episode.terminated


def test_a_behaviour_that_never_switches_is_not_listed_per_step() -> None:
    env = make_env("toy-paint", frame_spec=SMALL)
    assert play_episode(env, Drifting(), seed=1, max_steps=4).behaviours == ()


def test_the_same_seed_gives_the_same_episode() -> None:
    env = make_env("pygame-cartpole-tremor", frame_spec=SMALL)
    first, again, other = (
        play_episode(env, Drifting(), seed=seed, max_steps=20) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.actions, again.actions)
    assert (first.actions != other.actions).any()


def test_an_episode_that_the_task_ends_is_marked_terminated() -> None:
    env = make_env("toy-fall", frame_spec=SMALL)
    episode = play_episode(env, Drifting(), seed=4)
    assert episode.terminated
    assert episode.num_steps < env.spec.max_steps
    assert episode.rewards[-1] == -1.0


def test_an_episode_of_no_steps_is_one_frame() -> None:
    episode = play_episode(make_env("toy-paint", frame_spec=SMALL), Drifting(), seed=1, max_steps=0)
    assert episode.frames.shape == (1, 64, 64, 3)
    assert episode.actions.shape == (0, 2)
