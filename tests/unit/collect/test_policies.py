"""The behaviours' numbers, as the specification gives them."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from reverie.collect.policies import (
    MIXED_WEIGHTS,
    SEGMENT_MEAN_STEPS,
    SEGMENT_MIN_STEPS,
    TRANSFORM_MAX_STEPS,
    TRANSFORMS,
    fit_action,
    make_policy,
    step_ornstein_uhlenbeck,
)
from reverie.core.errors import UnknownNameError
from reverie.core.types import ActionSpec, FrameSpec
from reverie.envs.api import Policy, TaskEnv
from reverie.envs.registry import make_env


@pytest.fixture
def env() -> TaskEnv:
    made = make_env("toy-paint", frame_spec=FrameSpec(height_px=16, width_px=16))
    made.reset(0)
    return made


def _act(policy: Policy, env: TaskEnv, num_steps: int) -> tuple[np.ndarray, list[str]]:
    """Ask for actions without stepping: experts answer the same every time."""
    actions, names = [], []
    for step in range(num_steps):
        actions.append(policy.act(env, step))
        names.append(policy.behaviour())
    return np.array(actions), names


def test_the_wandering_noise_follows_the_worked_example() -> None:
    values = np.zeros(1)
    seen: list[float] = []
    for draw in (1.0, -0.5, 2.0):
        values = step_ornstein_uhlenbeck(values, np.array([draw]), theta=0.15, sigma=0.3)
        seen.append(float(values[0]))
    assert seen == pytest.approx([0.3, 0.105, 0.689250], abs=1e-9)


def test_the_wandering_noise_has_its_stationary_width() -> None:
    rng = np.random.default_rng(0)
    values = np.zeros(2000)
    for _ in range(200):
        values = step_ornstein_uhlenbeck(values, rng.standard_normal(2000), theta=0.15, sigma=0.3)
    assert float(values.std()) == pytest.approx(0.569495, rel=0.05)


def test_gaussian_noise_has_the_drawn_width(env: TaskEnv) -> None:
    policy = make_policy("noise-gaussian")
    parameters = policy.start(env, np.random.default_rng(0))
    actions, _ = _act(policy, env, 2000)
    assert 0.1 <= parameters["sigma"] <= 0.5
    inside = actions[np.abs(actions) < 1]
    assert float(inside.std()) == pytest.approx(parameters["sigma"], rel=0.1)


def test_random_actions_fill_the_whole_range(env: TaskEnv) -> None:
    policy = make_policy("random")
    policy.start(env, np.random.default_rng(0))
    actions, _ = _act(policy, env, 2000)
    assert actions.min() < -0.98 and actions.max() > 0.98
    assert abs(float(actions.mean())) < 0.05


def test_a_mixture_lies_between_expert_and_noise(env: TaskEnv) -> None:
    expert = make_policy("expert")
    expert.start(env, np.random.default_rng(0))
    target = expert.act(env, 0)
    policy = make_policy("noise-mixture")
    parameters = policy.start(env, np.random.default_rng(1))
    share = parameters["expert_share"]
    actions, _ = _act(policy, env, 3000)
    np.testing.assert_allclose(actions.mean(axis=0), share * target, atol=0.05)
    assert np.abs(actions - share * target).max() <= 1 - share + 1e-6


def test_structured_noise_draws_each_kind(env: TaskEnv) -> None:
    kinds = Counter()
    for seed in range(60):
        policy = make_policy("noise")
        kinds[policy.start(env, np.random.default_rng(seed))["kind"]] += 1
        policy.act(env, 0)
        assert policy.behaviour() in kinds
    assert set(kinds) == {"noise-gaussian", "noise-ou", "noise-mixture"}
    assert min(kinds.values()) > 10


def test_transforms_are_drawn_applied_and_listed(env: TaskEnv) -> None:
    expert = make_policy("expert")
    expert.start(env, np.random.default_rng(0))
    plain = expert.act(env, 0)
    policy = make_policy("transformed-expert")
    parameters = policy.start(env, np.random.default_rng(0))
    actions, names = _act(policy, env, 6000)
    drawn = parameters["transforms"]
    assert {item["kind"] for item in drawn} == set(TRANSFORMS)
    assert all(1 <= item["num_steps"] <= TRANSFORM_MAX_STEPS for item in drawn)
    lengths = [item["num_steps"] for item in drawn]
    assert 6.5 < np.mean(lengths) < 9.0
    for item in drawn[:-1]:
        steps = slice(item["step"], item["step"] + item["num_steps"])
        assert set(names[steps]) == {f"expert-{item['kind']}"}
        expected = {
            "scale": item.get("factor", 0.0) * plain,
            "flip": -plain,
            "zero": 0 * plain,
            "repeat": actions[item["step"] - 1],
            "drop": np.isin(np.arange(len(plain)), item.get("kept_lanes", [])) * plain,
        }[item["kind"]]
        np.testing.assert_allclose(
            actions[steps], np.tile(expected, (item["num_steps"], 1)), atol=1e-6
        )
    on = sum(name != "expert" for name in names) / len(names)
    assert 0.37 < on < 0.52, "a chance of 0.1 per free step, and 8 steps on the mean"


def test_mixed_segments_have_their_lengths_and_weights(env: TaskEnv) -> None:
    policy = make_policy("mixed")
    parameters = policy.start(env, np.random.default_rng(0))
    _, names = _act(policy, env, 6000)
    segments = parameters["segments"]
    for one, other in pairwise(segments):
        assert other["step"] == one["step"] + one["num_steps"]
    lengths = np.array([item["num_steps"] for item in segments])
    assert lengths.min() >= SEGMENT_MIN_STEPS
    assert float(lengths.mean()) == pytest.approx(SEGMENT_MEAN_STEPS, rel=0.15)
    shares = Counter(item["policy"] for item in segments)
    for name, weight in MIXED_WEIGHTS.items():
        assert shares[name] / len(segments) == pytest.approx(weight, abs=0.08)
    assert {"expert", "random", "noop", "noise-ou"} <= set(names)


def test_discrete_actions_are_one_hot() -> None:
    spec = ActionSpec(width=4, kind="discrete")
    assert fit_action(np.array([-0.5, 0.2, 0.9, 0.1]), spec).tolist() == [0, 0, 1, 0]
    assert fit_action(np.zeros(4), spec).tolist() == [1, 0, 0, 0]
    clipped = fit_action(np.array([-3.0, 0.5]), ActionSpec(width=2))
    assert clipped.tolist() == [-1.0, 0.5]


def test_an_unknown_policy_is_answered_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="Unknown policy 'expret'. Did you mean 'expert'?"):
        make_policy("expret")
