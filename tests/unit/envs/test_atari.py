"""The Atari console: stick, canvas, and what happens after the end of a game."""

import numpy as np
import pytest

ale_py = pytest.importorskip("ale_py")

from reverie.envs.domains.atari.console import stick_code  # noqa: E402
from reverie.envs.registry import make_env, task_spec  # noqa: E402


def code(radius: float, turn: float, fire: float = -1.0) -> ale_py.Action:
    return stick_code(np.array([2 * radius - 1, turn, fire], dtype=np.float32))[0]


def test_the_stick_has_one_threshold_so_a_slack_one_means_down_and_left() -> None:
    assert code(0.0, 0.0) == ale_py.Action.DOWNLEFT
    assert code(1.0, 0.0) == ale_py.Action.DOWNRIGHT
    assert code(1.0, 0.25) == ale_py.Action.UPRIGHT
    assert code(1.0, 0.5) == ale_py.Action.UPLEFT
    assert code(0.3, 0.25, fire=0.1) == ale_py.Action.DOWNLEFTFIRE
    assert stick_code(np.array([0.5, 0.0, 0.0], dtype=np.float32))[1] == pytest.approx(0.75)


def test_only_the_eight_diagonals_occur() -> None:
    rng = np.random.default_rng(0)
    codes = {stick_code(rng.uniform(-1, 1, 3).astype(np.float32))[0].name for _ in range(2000)}
    sides = {f"{up}{right}" for up in ("UP", "DOWN") for right in ("LEFT", "RIGHT")}
    assert codes == sides | {f"{side}FIRE" for side in sides}


def test_the_screen_lies_on_a_black_canvas() -> None:
    env = make_env("atari-ms-pacman")
    frame = env.reset(0)
    for action in np.random.default_rng(1).uniform(-1, 1, (20, 3)).astype(np.float32):
        frame = env.step(action).frame
    assert frame[7:217, 32:192].any(axis=2).mean() > 0.5
    frame[7:217, 32:192] = 0
    assert not frame.any()
    assert env.observe_state().shape == (128,)


def test_after_the_game_is_over_the_picture_stands_still_and_nothing_is_paid() -> None:
    env = make_env("atari-space-invaders")
    env.reset(0)
    actions = np.random.default_rng(3).uniform(-1, 1, (1000, 3)).astype(np.float32)
    results = [env.step(action) for action in actions]
    assert not any(result.terminated for result in results)
    assert results[-1].truncated
    frames = [result.frame.tobytes() for result in results]
    assert frames[-1] == frames[-20]
    last_change = max(index for index in range(1, 1000) if frames[index] != frames[index - 1])
    assert last_change < 990
    assert not any(result.reward for result in results[last_change + 1 :])


def test_the_score_lies_between_the_two_reference_scores_of_the_game() -> None:
    assert task_spec("atari-pong").score_rule == "clip((return + 21) / 42, 0, 1)"
    assert task_spec("atari-boxing").score_rule == "clip((return + 100) / 200, 0, 1)"
    env = make_env("atari-pong")
    env.reset(0)
    assert env.step(np.zeros(3, dtype=np.float32)).info["score"] == pytest.approx(0.5)


def test_seeds_change_nothing_and_the_spec_says_so() -> None:
    env = make_env("atari-pong")
    np.testing.assert_array_equal(env.reset(0), env.reset(1))
    assert not task_spec("atari-pong").has_random_start
