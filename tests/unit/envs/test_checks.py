"""``check_task`` finds broken promises."""

from dataclasses import replace

import numpy as np
import pytest

from reverie.core.types import FrameSpec
from reverie.envs import checks
from reverie.envs.api import StepResult
from reverie.envs.checks import check_task
from reverie.envs.game_env import GameEnv
from reverie.envs.registry import make_env

SMALL = FrameSpec(height_px=32, width_px=32)


def test_a_good_task_has_no_problems() -> None:
    check = check_task("toy-paint", frame_spec=SMALL)
    assert check.problems == ()
    assert check.num_steps == 100
    assert check.rate_hz > 0
    assert 0 <= check.score <= 1


class Broken:
    """A toy task that forgets its seed, overpays, and ends early."""

    def __init__(self) -> None:
        self._env = make_env("toy-paint", frame_spec=SMALL)
        self.spec, self.frame_spec = self._env.spec, SMALL
        self._calls = 0

    def reset(self, seed: int) -> np.ndarray:
        self._calls += 1
        return self._env.reset(seed + self._calls)

    def step(self, action: np.ndarray) -> StepResult:
        result = self._env.step(action)
        return replace(result, terminated=True, info={"score": 1.5, "success": False})

    def observe_state(self) -> np.ndarray:
        return self._env.observe_state()

    def save(self) -> object:
        return self._env.save()

    def restore(self, snapshot: object) -> np.ndarray:
        return self._env.restore(snapshot)

    def close(self) -> None:
        self._env.close()


def test_each_broken_promise_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "make_env", lambda task, **_: Broken())
    problems = " ".join(check_task("toy-paint", frame_spec=SMALL).problems)
    assert "A score leaves [0, 1]." in problems
    assert "ended by itself at step 1, against its spec" in problems
    assert "another first frame" in problems


def test_a_snapshot_that_forgets_its_randomness_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    restore = GameEnv.restore

    def forget(env: GameEnv, snapshot: object) -> np.ndarray:
        frame = restore(env, snapshot)
        env._rng = np.random.default_rng(1)
        return frame

    monkeypatch.setattr(GameEnv, "restore", forget)
    problems = check_task("toy-paint", frame_spec=SMALL).problems
    assert problems == ("Restoring a snapshot does not repeat what followed it.",)
