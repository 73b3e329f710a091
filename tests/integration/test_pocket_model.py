"""The model that ships: whole, small, with limits that fit it, and obeying actions."""

import pytest

from reverie.envs.registry import task_names
from reverie.evaluate.live import LiveConfig
from reverie.hallucination.calibrate import calibration_setup, load_calibration
from reverie.hallucination.novelty import load_bank
from reverie.hallucination.thresholds import load_thresholds, reading_setup
from reverie.models.load import load_world_model, model_digest, pretrained_folder, read_manifest
from reverie.recipes.caution import Caution, make_objective
from reverie.recipes.evaluation import EvaluationOrder, evaluate_live
from reverie.recipes.pocket import TASKS

MAX_BYTES = 12_000_000
FOLDER = pretrained_folder("pocket")


def test_it_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= MAX_BYTES


def test_it_knows_the_tasks_of_its_recipe_and_each_has_a_simulator() -> None:
    tasks = read_manifest(FOLDER).dynamics.tasks
    assert tasks == TASKS
    assert set(tasks) <= set(task_names())


def test_its_limits_were_fitted_for_it_and_cover_every_task() -> None:
    world = load_world_model(FOLDER)
    thresholds = load_thresholds(FOLDER, reading_setup(FOLDER, world))
    assert set(thresholds.tasks) == set(TASKS)


def test_its_calibration_was_fitted_for_it_and_can_flag_any_of_its_tasks() -> None:
    world, checkpoint = load_world_model(FOLDER), model_digest(FOLDER)
    calibration = load_calibration(FOLDER, calibration_setup(checkpoint, world))
    assert set(calibration.domains) <= set(TASKS)
    assert set(load_bank(FOLDER).tasks) == set(calibration.domains)
    for task in TASKS:
        limit = calibration.threshold(task).value
        assert limit is not None and 0.0 < limit < 1.0, task
    objective = make_objective(FOLDER, world, TASKS[0], Caution(kind="price"), 1.0)
    assert 0.0 < objective.risk_limit < 1.0


@pytest.mark.parametrize("task", ["pygame-point-maze-var2", "pygame-pong"])
def test_it_follows_actions_on_fresh_episodes(task: str) -> None:
    """Bounds lie well below the numbers in docs/reproduce.md: a few clips vary."""
    order = EvaluationOrder(
        tasks=(task,),
        live=LiveConfig(num_episodes=4, max_steps=60, num_probes=4),
        has_single_substep=False,
    )
    (measured,) = evaluate_live(load_world_model(FOLDER), order)
    assert float(measured.following.ratio) > 1.3
