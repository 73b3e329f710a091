"""The registry against the benchmark's own table of 210 tasks, copied as a fixture."""

import csv
from pathlib import Path

import pytest

from reverie.envs.registry import DOMAINS, task_names, task_spec
from reverie.envs.spec import TaskSpec

TABLE = Path(__file__).parents[2] / "fixtures" / "tasks.csv"
CLASSICS = ("CartPole-v1", "CarRacing-v3", "VizdoomTakeCover-v1", "procgen-coinrun")
# The benchmark calls our MiniArcade after the library it is written with.
DOMAIN_NAMES = {"pygame": "miniarcade"}
SPLITS = {"seen": "train", "unseen": "unseen"}


def rows() -> list[dict[str, str]]:
    with TABLE.open() as file:
        return list(csv.DictReader(file))


def of_registered_domains() -> list[dict[str, str]]:
    domains = {name.replace("_", "-") for name in DOMAINS}
    return [row for row in rows() if DOMAIN_NAMES.get(row["domain"], row["domain"]) in domains]


@pytest.mark.parametrize("row", of_registered_domains(), ids=lambda row: row["task"])
def test_a_task_is_registered_as_the_benchmark_has_it(row: dict[str, str]) -> None:
    spec: TaskSpec = task_spec(row["task"])
    assert spec.domain == DOMAIN_NAMES.get(row["domain"], row["domain"])
    assert spec.action.width == int(row["action_dim"])
    assert spec.max_steps == int(row["max_episode_steps"])
    assert spec.instruction == row["instruction"]
    assert spec.split == SPLITS[row["split"]]
    assert spec.is_targeted == (row["is_targeted"] == "true")
    assert spec.action.kind == "continuous"
    assert not spec.can_terminate


def test_tasks_outside_the_table_are_marked_so() -> None:
    listed = {row["task"] for row in rows()}
    for name in task_names():
        assert (task_spec(name).split == "extra") == (name not in listed), name


def test_the_four_classics_are_there() -> None:
    assert set(CLASSICS) <= set(task_names())
    assert all(task_spec(name).domain == "classics" for name in CLASSICS)


def test_210_tasks_of_the_benchmark_are_registered_and_17_wait_for_assets() -> None:
    listed = [row["task"] for row in rows()]
    assert len(listed) == 210
    assert set(listed) <= set(task_names())
    assert sum(task_spec(name).assets is not None for name in listed) == 17
