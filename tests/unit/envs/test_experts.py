"""Scripted experts do what they are for."""

from dataclasses import replace

import numpy as np
import pytest

from reverie.core.errors import ConfigError, UnknownNameError
from reverie.core.types import FrameSpec
from reverie.envs import experts
from reverie.envs.api import TaskEnv
from reverie.envs.episode import play_episode
from reverie.envs.experts import has_expert, make_expert
from reverie.envs.registry import make_env, task_names, task_spec

TINY = FrameSpec(height_px=8, width_px=8)
OWN_TASKS = tuple(name for name in task_names() if task_spec(name).extra is None)
EXPERT_TASKS = tuple(name for name in OWN_TASKS if has_expert(name))
LOWEST_MEAN_SCORE = {
    "cartpole-v1-close": 0.9,
    "CartPole-v1": 0.9,
    "pygame-pong": 0.5,
    "pygame-cartpole-balance": 0.98,
    "pygame-cartpole-balance-sparse": 0.98,
    "pygame-cartpole-tremor": 0.95,
    "pygame-cartpole-swingup": 0.75,
    "pygame-cartpole-swingup-sparse": 0.70,
    "pygame-point-maze-var1": 0.95,
    "pygame-point-maze-var2": 0.95,
    "pygame-point-maze-var3": 0.95,
    "pygame-point-maze-var4": 0.95,
    "pygame-reacher-easy": 0.85,
    "pygame-reacher-hard": 0.85,
    "pygame-cowboy": 0.95,
    "pygame-coinrun": 0.9,
    "pygame-spaceship": 0.45,
    "pygame-bird-attack": 0.85,
    "pygame-highway": 0.75,
    "pygame-landing": 0.75,
    "pygame-air-hockey": 0.3,
    "pygame-rocket-collect": 0.85,
    "pygame-chase-evade": 0.5,
    "pygame-coconut-dodge": 0.85,
    "pygame-foraging": 0.9,
    "pygame-dungeon-explorer1": 0.95,
    "pygame-whirlpool": 0.95,
    "toy-paint": 0.85,
    "toy-fall": 0.98,
}


class UniformNoise:
    """Uniform random actions."""

    name = "noise"

    def start(self, env: TaskEnv, rng: np.random.Generator) -> dict[str, float]:
        self._rng = rng
        return {}

    def act(self, env: TaskEnv, step: int) -> np.ndarray:
        return self._rng.uniform(-1.0, 1.0, env.spec.action.width).astype(np.float32)

    def behaviour(self) -> str:
        return self.name


def test_every_game_of_ours_has_an_expert() -> None:
    assert set(EXPERT_TASKS) == set(OWN_TASKS) == set(LOWEST_MEAN_SCORE)


@pytest.mark.parametrize("task", EXPERT_TASKS)
def test_an_expert_beats_noise_from_the_same_start(task: str) -> None:
    env = make_env(task, frame_spec=TINY)
    expert = play_episode(env, make_expert(task), seed=3)
    noise = play_episode(env, UniformNoise(), seed=3)
    np.testing.assert_array_equal(expert.frames[0], noise.frames[0])
    assert expert.score > noise.score + 0.2


@pytest.mark.long
@pytest.mark.parametrize("task", EXPERT_TASKS)
def test_an_expert_keeps_its_mean_score_over_many_starts(task: str) -> None:
    env = make_env(task, frame_spec=TINY)
    expert = make_expert(task)
    scores = [play_episode(env, expert, seed=seed).score for seed in range(100, 120)]
    assert np.mean(scores) >= LOWEST_MEAN_SCORE[task]


def test_an_expert_is_a_function_of_the_state_alone() -> None:
    env = make_env("pygame-point-maze-var2", frame_spec=TINY)
    env.reset(1)
    expert = make_expert("pygame-point-maze-var2")
    first = expert.act(env, 0)
    np.testing.assert_array_equal(expert.act(env, 7), first)
    assert np.abs(first).max() <= 1.0


def test_a_misspelt_task_is_answered_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'pygame-pong'"):
        make_expert("pygame-pongg")


def test_a_task_without_expert_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = replace(task_spec("pygame-pong"), expert=None)
    monkeypatch.setattr(experts, "task_spec", lambda name: bare)
    with pytest.raises(ConfigError, match="has no scripted expert"):
        make_expert("pygame-pong")
