"""Experts are measured beside a baseline from the same starts."""

import numpy as np
import pytest

from reverie.collect.policies import make_policy
from reverie.core.errors import ConfigError
from reverie.core.types import FrameSpec
from reverie.envs.episode import play_episode
from reverie.envs.experts import make_expert
from reverie.envs.registry import make_env
from reverie.envs.undrawn import without_pictures
from reverie.evaluate.experts import measure_expert, play_blind
from tests.support.simulators import open_task


def test_a_blind_episode_scores_as_a_drawn_one() -> None:
    env = make_env("toy-paint", frame_spec=FrameSpec(height_px=16, width_px=16))
    expert = make_expert("toy-paint")
    assert play_blind(env, expert, seed=4).score == play_episode(env, expert, seed=4).score


def test_a_good_expert_is_above_noise_with_an_interval_that_says_so() -> None:
    measure = measure_expert("toy-paint", baseline=make_policy("random"), num_episodes=6)
    assert measure.is_better
    assert measure.expert_score > measure.baseline_score
    assert measure.low <= measure.expert_score - measure.baseline_score <= measure.high


def test_a_baseline_that_is_the_expert_itself_is_not_worse() -> None:
    measure = measure_expert("toy-paint", baseline=make_policy("expert"), num_episodes=3)
    assert not measure.is_better
    assert measure.expert_score == measure.baseline_score


def test_a_task_without_an_expert_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no scripted expert"):
        measure_expert("og-ant", baseline=make_policy("random"), num_episodes=1)


def test_a_simulator_without_pictures_plays_the_same_episode() -> None:
    env = open_task("og-point-arena")
    blind = without_pictures(env)
    outcomes = []
    for one in (env, blind):
        one.reset(3)
        result = one.step(np.array([0.5, 0.5], dtype=np.float32))
        outcomes.append((result.reward, one.observe_state().tolist()))
    assert outcomes[0] == outcomes[1]
    assert result.frame.shape == (1, 1, 3)
    blind.close()
