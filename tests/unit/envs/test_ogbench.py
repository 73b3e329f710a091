"""The mazes of our own making are the library's, and the rules are the benchmark's."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from reverie.envs.domains.ogbench.experts import maze_expert, next_cell
from reverie.envs.domains.ogbench.maps import MAZES, cell_at, centre_of
from reverie.envs.game_env import GameEnv
from reverie.envs.registry import task_names
from tests.support.simulators import open_task, undrawn


@pytest.fixture
def opened(request: pytest.FixtureRequest) -> Iterator[GameEnv]:
    env = open_task(request.param)
    with undrawn(env):
        yield env
    env.close()


def assert_same_model(ours: Any, theirs: Any) -> None:
    skipped = ("_", "name")
    for field in dir(theirs):
        value = getattr(theirs, field)
        if isinstance(value, int | float | np.ndarray) and not field.startswith(skipped):
            np.testing.assert_array_equal(getattr(ours, field), value, err_msg=field)


@pytest.mark.parametrize("body", ["point", "ant"])
@pytest.mark.parametrize("maze", ["arena", "medium"])
def test_a_maze_built_in_memory_is_the_librarys_model(body: str, maze: str) -> None:
    open_task("og-point-arena").close()
    from ogbench.locomaze.maze import make_maze_env

    from reverie.envs.domains.ogbench.scenes import make_maze_model

    theirs = make_maze_env(body, "maze", maze_type=maze).unwrapped
    assert_same_model(make_maze_model(body, MAZES[maze]), theirs.model)
    theirs.close()


def test_the_ant_with_its_ball_is_the_librarys_model() -> None:
    open_task("og-ant").close()
    from ogbench.online_locomotion.ant import AntEnv

    from reverie.envs.domains.ogbench.scenes import make_ant_ball_model, make_ant_model

    theirs = AntEnv()
    assert_same_model(make_ant_model(), theirs.model)
    ball = make_ant_ball_model()
    assert ball.nq == theirs.model.nq + 7
    assert ball.geom("target").size[0] == pytest.approx(0.4)


@pytest.mark.parametrize("name", MAZES)
def test_every_start_and_goal_is_free_and_connected(name: str) -> None:
    maze = MAZES[name]
    assert len(maze.pairs) == len(set(maze.pairs)) >= 10
    for start, goal in maze.pairs:
        assert maze.is_free(start)
        assert maze.is_free(goal)
        assert next_cell(maze, start, goal) is not None
        assert cell_at(*centre_of(start)) == start


@pytest.mark.parametrize("opened", ["og-point-maze"], indirect=True)
def test_a_point_moves_by_its_action_and_stops_at_walls(opened: GameEnv) -> None:
    opened.reset(1)
    way = 0.8 * np.array([0.5, -0.25])
    opened.game._data.qpos[:] = centre_of((2, 2))
    opened.step(np.array([0.5, -0.25], dtype=np.float32))
    np.testing.assert_allclose(20 * opened.observe_state()[:2], centre_of((2, 2)) + way, atol=1e-5)
    for _ in range(20):
        opened.step(np.array([-1.0, 0.0], dtype=np.float32))
    assert 20 * opened.observe_state()[0] == pytest.approx(centre_of((2, 1))[0] - 1.3, abs=0.1)


@pytest.mark.parametrize("opened", ["og-point-arena"], indirect=True)
def test_the_reward_of_a_maze_is_the_rule_of_the_benchmark(opened: GameEnv) -> None:
    opened.reset(1)
    result = opened.step(np.array([1.0, 0.0], dtype=np.float32))
    _, _, way_x, way_y, _, _, dx, dy, distance = 20 * opened.observe_state().astype(np.float64)
    cost = 0.025 * np.hypot(way_x, way_y)
    expected = -(0.5 * (abs(dx) + abs(dy)) + 0.5 * distance + cost) / 20
    assert result.reward == pytest.approx(expected, abs=1e-5)
    assert not result.info["success"]


@pytest.mark.parametrize("opened", ["og-ant"], indirect=True)
def test_the_direction_to_run_in_changes_every_hundred_steps(opened: GameEnv) -> None:
    opened.reset(2)
    directions = []
    for _ in range(201):
        directions.append(tuple(opened.observe_state()[-2:].tolist()))
        opened.step(np.zeros(8, dtype=np.float32))
    assert len(set(directions)) == 3
    assert directions[99] == directions[0] != directions[100]
    assert np.hypot(*directions[0]) == pytest.approx(1.0)


@pytest.mark.parametrize("opened", ["og-antball"], indirect=True)
def test_the_ball_pays_what_both_distances_lose(opened: GameEnv) -> None:
    opened.reset(2)
    paid, ends = 0.0, []
    for _ in range(31):
        vector = opened.observe_state().astype(np.float64)
        ends.append(25 * np.hypot(*vector[-2:]) + 10 * np.hypot(*vector[-4:-2]))
        paid += opened.step(np.full(8, 0.3, dtype=np.float32)).reward
    vector = opened.observe_state().astype(np.float64)
    last = 25 * np.hypot(*vector[-2:]) + 10 * np.hypot(*vector[-4:-2])
    assert paid == pytest.approx(ends[0] - last, abs=1e-3)


@pytest.mark.parametrize("name", [name for name in task_names() if name.startswith("og-point-")])
def test_the_point_expert_reaches_every_goal(name: str) -> None:
    env = open_task(name)
    maze = MAZES[name.removeprefix("og-point-").replace("maze", "medium")]
    controller = maze_expert(maze)
    with undrawn(env):
        for seed in range(5):
            env.reset(seed)
            for _ in range(env.spec.max_steps):
                action = np.array(controller(env.observe_state()), dtype=np.float32)
                result = env.step(action)
            assert result.info["score"] == 1.0
    env.close()
