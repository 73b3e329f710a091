"""Closed-loop planning: resumable, repeatable, paired; and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reverie.core.errors import ConfigError
from reverie.models.load import save_world_model
from reverie.planning.optimisers import SearchConfig
from reverie.planning.plan import PlanConfig
from reverie.recipes.planning import (
    PlannedEpisode,
    PlanningOrder,
    flow_steps,
    run_planning,
    summarise,
)
from tests.support.small_world import make_small_world

TINY = PlanConfig(
    horizon=2,
    num_executed=2,
    num_dreams=1,
    num_finalists=1,
    search=SearchConfig(num_candidates=3, num_elites=2, num_iterations=1),
)
ORDER = PlanningOrder(tasks=("toy-paint",), num_episodes=2, max_steps=4, plan=TINY)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_world_model(folder, make_small_world())
    return folder


def test_what_was_played_is_not_played_again_and_what_is_missing_is(
    model: Path, tmp_path: Path
) -> None:
    played: list[PlannedEpisode] = []

    def run() -> dict[str, object]:
        played.clear()
        return run_planning(
            model, ORDER, tmp_path, num_workers=1, on_episode=lambda e, *_: played.append(e)
        )

    first = run()
    assert len(played) == 4
    assert run() == first and played == []
    lost = tmp_path / "episodes" / "toy-paint" / "planner" / "0001.json"
    lost.unlink()
    assert run() == first
    assert [(episode.policy, episode.index) for episode in played] == [("planner", 1)]
    assert json.loads((tmp_path / "planning.json").read_text()) == first


def test_real_and_planned_futures_are_painted(model: Path, tmp_path: Path) -> None:
    run_planning(model, replace(ORDER, num_episodes=1), tmp_path, num_workers=1)
    assert (tmp_path / "pictures" / "toy-paint.gif").read_bytes()[:6] == b"GIF89a"
    assert (tmp_path / "pictures" / "toy-paint.png").exists()


def test_a_folder_keeps_to_its_order_but_may_grow(model: Path, tmp_path: Path) -> None:
    small = replace(ORDER, num_episodes=1)
    run_planning(model, small, tmp_path, num_workers=1)
    grown = run_planning(model, ORDER, tmp_path, num_workers=1)
    assert grown["tasks"]["toy-paint"]["num_episodes"] == 2
    with pytest.raises(ConfigError, match="holds episodes played with seed 0, now it is 1"):
        run_planning(model, replace(ORDER, seed=1), tmp_path, num_workers=1)


def test_a_task_that_the_model_does_not_know_is_refused(model: Path, tmp_path: Path) -> None:
    order = replace(ORDER, tasks=("pygame-pong",))
    with pytest.raises(ConfigError, match="Unknown task of the model 'pygame-pong'"):
        run_planning(model, order, tmp_path, num_workers=1)
    with pytest.raises(ConfigError, match="Name each task once"):
        PlanningOrder(tasks=())


def test_flow_substeps_are_changed_for_a_while_only() -> None:
    world = make_small_world()
    with flow_steps(world, 1):
        assert world.num_flow_steps == 1
    assert world.num_flow_steps == 4
    with pytest.raises(ConfigError, match="must be a power of two"), flow_steps(world, 3):
        pass


def made(
    policy: str, index: int, score: float, total_reward: float | None = None
) -> PlannedEpisode:
    return PlannedEpisode(
        task="toy-paint",
        policy=policy,
        index=index,
        seed=index,
        score=score,
        total_reward=score if total_reward is None else total_reward,
        num_steps=1,
        success_last=False,
        success_any=index == 0,
        counts={"decisions": 3.0} if policy == "planner" else {},
    )


def test_scores_are_paired_by_start_and_a_difference_must_exclude_zero() -> None:
    base = [0.1, 0.5, 0.9, 0.3]
    episodes = [made("random", index, score) for index, score in enumerate(base)]
    better = [made("planner", index, score + 0.05) for index, score in enumerate(base)]
    found = summarise(episodes + better, seed=0)["tasks"]["toy-paint"]
    # Every start gained the same: the paired interval has no width, far inside the spread.
    assert found["difference"] == pytest.approx({"mean": 0.05, "low": 0.05, "high": 0.05})
    assert found["beats_random"] and found["success_any"] == 0.25
    mixed = [made("planner", i, s + (0.3 if i % 2 else -0.2)) for i, s in enumerate(base)]
    assert not summarise(episodes + mixed, seed=0)["tasks"]["toy-paint"]["beats_random"]


def test_returns_are_told_beside_scores_that_see_the_last_step_alone() -> None:
    random = [made("random", index, 0.0, 20.0 + index) for index in range(4)]
    planned = [made("planner", index, 0.0, 30.0 + index) for index in range(4)]
    numbers = summarise(random + planned, seed=0)
    found = numbers["tasks"]["toy-paint"]
    assert not found["beats_random"] and found["returns"]["beats_random"]
    assert found["returns"]["difference"] == pytest.approx({"mean": 10, "low": 10, "high": 10})
    assert (numbers["num_beats_random"], numbers["num_beats_random_by_return"]) == (0, 1)


@pytest.mark.long
def test_two_processes_play_what_one_plays(model: Path, tmp_path: Path) -> None:
    alone = run_planning(model, ORDER, tmp_path / "one", num_workers=1)
    together = run_planning(model, ORDER, tmp_path / "two", num_workers=2)
    for found in (alone, together):
        found["tasks"]["toy-paint"].pop("counts")
    assert alone == together
