"""Every registered behaviour: in range, repeatable, restartable, and honest about its name."""

import json
from collections.abc import Iterator

import numpy as np
import pytest

from reverie.collect.policies import EXPERT_POLICIES, POLICIES, make_policy
from reverie.core.types import Episode, FrameSpec
from reverie.envs import experts
from reverie.envs.api import Policy, TaskEnv
from reverie.envs.episode import play_episode
from reverie.envs.registry import make_env

SPEC = FrameSpec(height_px=16, width_px=16)
TASKS = ("toy-paint", "toy-fall", "pygame-cartpole-balance")


@pytest.fixture(params=TASKS)
def env(request: pytest.FixtureRequest) -> Iterator[TaskEnv]:
    made = make_env(request.param, frame_spec=SPEC)
    yield made
    made.close()


def _play(env: TaskEnv, name: str, seed: int = 5) -> Episode:
    return play_episode(env, make_policy(name), seed=seed, max_steps=40)


def _assert_same(one: Episode, other: Episode) -> None:
    np.testing.assert_array_equal(one.actions, other.actions)
    np.testing.assert_array_equal(one.frames, other.frames)
    assert (one.behaviours, one.parameters) == (other.behaviours, other.parameters)


@pytest.mark.parametrize("name", POLICIES.names())
def test_actions_fit_the_task(name: str, env: TaskEnv) -> None:
    env.reset(0)
    policy = make_policy(name)
    policy.start(env, np.random.default_rng(0))
    for step in range(60):
        action = policy.act(env, step)
        assert action.dtype == np.float32
        assert action.shape == (env.spec.action.width,)
        assert np.abs(action).max() <= 1.0
        if env.step(action).terminated:
            break


@pytest.mark.parametrize("name", POLICIES.names())
def test_a_seed_gives_one_episode_and_another_seed_another(name: str, env: TaskEnv) -> None:
    episode = _play(env, name)
    _assert_same(episode, _play(env, name))
    assert not np.array_equal(episode.frames[0], _play(env, name, seed=6).frames[0])


@pytest.mark.parametrize("name", POLICIES.names())
def test_a_policy_that_has_played_before_plays_the_same(name: str, env: TaskEnv) -> None:
    policy = make_policy(name)
    play_episode(env, policy, seed=1, max_steps=13)
    _assert_same(play_episode(env, policy, seed=5, max_steps=40), _play(env, name))


@pytest.mark.parametrize("name", POLICIES.names())
def test_what_is_drawn_is_recorded_as_plain_json(name: str, env: TaskEnv) -> None:
    episode = _play(env, name)
    assert episode.source == name
    parameters = dict(episode.parameters)
    assert json.loads(json.dumps(parameters)) == parameters


@pytest.mark.parametrize("name", POLICIES.names())
def test_a_behaviour_has_a_name_at_every_step(name: str, env: TaskEnv) -> None:
    policy = make_policy(name)
    env.reset(0)
    policy.start(env, np.random.default_rng(0))
    for step in range(30):
        policy.act(env, step)
        assert policy.behaviour()


def test_the_list_of_those_that_need_an_expert_is_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def noting(task: str) -> Policy:
        asked.append(task)
        return original(task)

    original = experts.make_expert
    monkeypatch.setattr(experts, "make_expert", noting)
    env = make_env("toy-paint", frame_spec=SPEC)
    env.reset(0)
    for name in POLICIES.names():
        asked.clear()
        for seed in range(8):
            policy = make_policy(name)
            policy.start(env, np.random.default_rng(seed))
            for step in range(30):
                policy.act(env, step)
        assert bool(asked) == (name in EXPERT_POLICIES), name
