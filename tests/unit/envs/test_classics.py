"""CartPole, CarRacing, TakeCover and CoinRun: choices, ends, scores, frames."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from reverie.envs.api import StepResult, TaskEnv
from reverie.envs.experts import make_expert
from reverie.envs.registry import make_env


def play(env: TaskEnv, actions: np.ndarray) -> list[StepResult]:
    results: list[StepResult] = []
    for action in actions:
        results.append(env.step(action))
        if results[-1].terminated or results[-1].truncated:
            break
    return results


def test_pushing_one_way_fells_the_pole_and_ends_the_episode() -> None:
    env = make_env("CartPole-v1")
    env.reset(0)
    results = play(env, np.tile(np.array([0, 1], dtype=np.float32), (500, 1)))
    assert results[-1].terminated and not results[-1].truncated
    assert len(results) < 15
    assert {result.reward for result in results} == {1.0}
    assert not results[-1].info["success"]


def test_the_larger_lane_chooses() -> None:
    env = make_env("CartPole-v1")
    ends = []
    for action in ([-1.0, 0.2], [0.1, 0.9], [0.9, 0.1]):
        env.reset(1)
        env.step(np.array(action, dtype=np.float32))
        ends.append(float(env.observe_state()[1]))
    assert ends[0] == ends[1] > ends[2]


def test_the_expert_balances_for_the_whole_episode() -> None:
    env, expert = make_env("CartPole-v1"), make_expert("CartPole-v1")
    env.reset(3)
    expert.start(env, np.random.default_rng(0))
    for step in range(500):
        result = env.step(expert.act(env, step))
    assert result.truncated and not result.terminated
    assert result.info["score"] == 1.0


def test_cartpole_keeps_its_shape_between_white_bars() -> None:
    frame = make_env("CartPole-v1").reset(0)
    assert (frame[:37] == 255).all() and (frame[187:] == 255).all()
    assert (frame[60:160] < 200).any()


def test_the_race_pays_new_tiles_and_lets_gas_move_the_car() -> None:
    pytest.importorskip("Box2D")
    env = make_env("CarRacing-v3")
    first = env.reset(2)
    gas = np.array([0, 1, -1], dtype=np.float32)
    results = play(env, np.tile(gas, (40, 1)))
    assert sum(result.reward for result in results) > 5
    assert np.hypot(*env.observe_state()[3:5]) > 10
    assert first.shape == (224, 224, 3)
    meadow = results[-1].frame[:150].astype(int)
    assert (meadow[..., 1] > meadow[..., 0] + 50).mean() > 0.5


def test_doom_leaves_no_files_and_no_process_behind() -> None:
    pytest.importorskip("vizdoom")
    before = set(Path.cwd().iterdir())
    env = make_env("VizdoomTakeCover-v1")
    env.reset(1)
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    assert any(path.read_text().strip() for path in children)
    results = play(env, np.ones((2100, 1), dtype=np.float32))
    assert results[-1].terminated
    assert len(results) == round(results[-1].info["score"] * 2100)
    env.close()
    assert set(Path.cwd().iterdir()) == before


def test_doom_does_not_outlive_a_killed_process() -> None:
    pytest.importorskip("vizdoom")
    code = """
from reverie.envs.registry import make_env
env = make_env("VizdoomTakeCover-v1")
from reverie.envs.domains.classics.take_cover import _doom_processes
print(*_doom_processes(), flush=True)
input()
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        doom = process.stdout.readline().split()
        process.kill()
    assert len(doom) == 1
    path = Path("/proc") / doom[0].decode()
    deadline = time.monotonic() + 20
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not path.exists()


def test_doom_moves_the_player_both_ways_and_repeats_a_seed() -> None:
    pytest.importorskip("vizdoom")
    env = make_env("VizdoomTakeCover-v1")
    places = []
    for lane in (1.0, -1.0, 1.0):
        env.reset(5)
        play(env, np.full((8, 1), lane, dtype=np.float32))
        frame = env.step(np.array([lane], dtype=np.float32)).frame
        places.append((float(env.observe_state()[1]), frame.tobytes()))
    assert places[0][0] < places[1][0]
    assert places[0] == places[2]
    env.close()


def test_coinrun_ends_with_the_last_picture_of_its_own_level() -> None:
    pytest.importorskip("procgen")
    env = make_env("procgen-coinrun")
    jump_right = np.eye(9, dtype=np.float32)[8]
    for seed in range(12):
        env.reset(seed)
        results = play(env, np.tile(jump_right, (1000, 1)))
        if results[-1].terminated:
            break
    assert results[-1].terminated
    np.testing.assert_array_equal(results[-1].frame, results[-2].frame)
    assert results[-1].info["score"] == float(results[-1].reward >= 10)
    env.close()
