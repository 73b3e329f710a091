"""The shipped shortcut models: whole, small, with limits and a calibration of their own."""

from pathlib import Path

import pytest

from reverie.envs.registry import task_names
from reverie.hallucination.calibrate import calibration_setup, load_calibration
from reverie.hallucination.novelty import load_bank
from reverie.hallucination.thresholds import load_thresholds, reading_setup
from reverie.models.load import load_world_model, model_digest, pretrained_folder, read_manifest
from reverie.recipes import domains, pocket

MAX_BYTES = 12_000_000
SHIPPED = pytest.mark.parametrize(
    ("folder", "tasks"),
    [
        pytest.param(pretrained_folder(name), tasks, id=name)
        for name, tasks in {"pocket": pocket.TASKS, "domains": domains.TASKS}.items()
    ],
)


@SHIPPED
def test_it_is_small_enough_to_ship(folder: Path, tasks: tuple[str, ...]) -> None:
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MAX_BYTES


@SHIPPED
def test_it_knows_the_tasks_of_its_recipe_and_each_has_a_simulator(
    folder: Path, tasks: tuple[str, ...]
) -> None:
    assert read_manifest(folder).dynamics.tasks == tasks
    assert set(tasks) <= set(task_names())


@SHIPPED
def test_its_limits_were_fitted_for_it_and_cover_every_task(
    folder: Path, tasks: tuple[str, ...]
) -> None:
    thresholds = load_thresholds(folder, reading_setup(folder, load_world_model(folder)))
    assert set(thresholds.tasks) == set(tasks)


@SHIPPED
def test_its_calibration_was_fitted_for_it_and_can_flag_any_of_its_tasks(
    folder: Path, tasks: tuple[str, ...]
) -> None:
    world, checkpoint = load_world_model(folder), model_digest(folder)
    calibration = load_calibration(folder, calibration_setup(checkpoint, world))
    assert set(calibration.domains) == set(load_bank(folder).tasks) == set(tasks)
    for task in tasks:
        limit = calibration.threshold(task).value
        assert limit is not None and 0.0 < limit < 1.0, task
