import math

import numpy as np
import pytest

from reverie.core.types import ActionSpec
from reverie.envs.registry import make_env
from reverie.envs.spec import TaskSpec
from reverie.hallucination.thresholds import Limit
from reverie.serve.drivers import Wander, rest_action
from reverie.serve.keys import key_bindings
from reverie.serve.overlay import judge, to_thresholds, worst_level


def make_spec(*names: str, kind: str = "continuous") -> TaskSpec:
    return TaskSpec(
        name="some-task",
        domain="toy",
        instruction="Do it.",
        action=ActionSpec(width=len(names), kind=kind),  # type: ignore[arg-type]
        action_names=names,
        max_steps=10,
        factory="nowhere:nothing",
    )


def held(spec: TaskSpec) -> dict[str, tuple[int, float]]:
    return {key: (item.lane, item.value) for item in key_bindings(spec) for key in item.keys}


def test_colours_come_from_absolute_limits_of_the_normalised_reading() -> None:
    limits = {"u_r": Limit(yellow=1.0, red=2.0), "u_f": Limit(yellow=1.0, red=2.0)}
    raw = {"u_r": 9.0, "u_f": math.nan, "u_s": 9.0}
    readings = judge(raw, {"u_r": 1.5, "u_f": math.nan, "u_s": 9.0}, limits)
    assert [reading.level for reading in readings] == ["yellow", "red", "unknown"]
    assert [reading.raw for reading in readings] == [9.0, None, 9.0]
    assert worst_level(reading.level for reading in readings) == "red"
    assert to_thresholds(limits)[0].red == 2.0


def test_the_worst_level_of_nothing_is_unknown() -> None:
    assert worst_level([]) == "unknown"
    assert worst_level(["unknown", "green"]) == "green"


def test_two_lanes_are_the_two_axes_as_their_names_say() -> None:
    keys = held(make_spec("move right", "move down"))
    assert keys["ArrowRight"] == keys["KeyD"] == (0, 1.0)
    assert keys["ArrowDown"] == keys["KeyS"] == (1, 1.0)
    assert keys["ArrowUp"] == (1, -1.0)


def test_an_arrow_follows_the_name_and_not_the_place_of_a_lane() -> None:
    keys = held(make_spec("thrust up", "steer left", "grip"))
    assert keys["ArrowUp"] == (0, 1.0)
    assert keys["ArrowLeft"] == (1, 1.0)
    assert keys["KeyE"] == (2, 1.0)


def test_a_single_vertical_lane_uses_the_vertical_arrows_only() -> None:
    keys = held(make_spec("move paddle down"))
    assert keys["ArrowDown"] == (0, 1.0)
    assert "ArrowLeft" not in keys


def test_lanes_without_direction_take_free_pairs_and_no_key_drives_two_lanes() -> None:
    spec = make_spec(*(f"joint {index}" for index in range(9)))
    bindings = key_bindings(spec)
    codes = [key for item in bindings for key in item.keys]
    assert len(codes) == len(set(codes))
    assert {item.lane for item in bindings} == set(range(6))
    shortcuts = {"Space", "KeyN", "KeyR", "KeyT", "KeyC", "KeyV", "KeyO"}
    assert not shortcuts & set(codes)


def test_discrete_choices_have_digits_and_named_directions_have_arrows() -> None:
    keys = held(make_spec("noop", "left", "right", kind="discrete"))
    assert keys["Digit1"] == (0, 1.0)
    assert keys["ArrowLeft"] == keys["Digit2"] == (1, 1.0)


def test_resting_is_zero_or_the_choice_that_does_nothing() -> None:
    assert rest_action(make_spec("x", "y")).tolist() == [0, 0]
    assert rest_action(make_spec("left", "noop", kind="discrete")).tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_wandering_holds_actions_and_depends_on_its_generator_only(kind: str) -> None:
    env = make_env("toy-paint")
    env.spec = make_spec("x", "y", "z", kind=kind)

    def draw(seed: int) -> np.ndarray:
        policy = Wander()
        policy.start(env, np.random.default_rng(seed))
        return np.stack([policy.act(env, step) for step in range(60)])

    actions = draw(1)
    changes = int((np.abs(np.diff(actions, axis=0)).sum(axis=1) > 0).sum())
    assert 1 <= changes <= 15
    assert np.abs(actions).max() <= 1
    assert np.array_equal(actions, draw(1))
    assert not np.array_equal(actions, draw(2))
