"""The shipped model of six simulators: whole, small, with limits and a calibration of its own."""

import pytest

from reverie.envs.registry import task_names, task_spec
from reverie.evaluate.evaluation import task_numbers
from reverie.evaluate.live import LiveConfig
from reverie.hallucination.calibrate import calibration_setup, load_calibration
from reverie.hallucination.novelty import load_bank
from reverie.hallucination.thresholds import load_thresholds, reading_setup
from reverie.models.load import load_world_model, model_digest, pretrained_folder, read_manifest
from reverie.recipes.domains import BEHAVIOUR, TASKS
from reverie.recipes.evaluation import EvaluationOrder, evaluate_live

MAX_BYTES = 12_000_000
FOLDER = pretrained_folder("domains")


def test_it_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= MAX_BYTES


def test_it_knows_the_tasks_of_its_recipe_and_they_come_from_six_simulators() -> None:
    assert read_manifest(FOLDER).dynamics.tasks == TASKS
    assert set(TASKS) <= set(task_names())
    assert len({task_spec(task).domain for task in TASKS}) == 6


def test_its_limits_were_fitted_for_it_and_cover_every_task() -> None:
    thresholds = load_thresholds(FOLDER, reading_setup(FOLDER, load_world_model(FOLDER)))
    assert set(thresholds.tasks) == set(TASKS)


def test_its_calibration_was_fitted_for_it_and_can_flag_any_of_its_tasks() -> None:
    world, checkpoint = load_world_model(FOLDER), model_digest(FOLDER)
    calibration = load_calibration(FOLDER, calibration_setup(checkpoint, world))
    assert set(calibration.domains) == set(TASKS)
    assert set(load_bank(FOLDER).tasks) == set(TASKS)
    for task in TASKS:
        limit = calibration.threshold(task).value
        assert limit is not None and 0.0 < limit < 1.0, task


@pytest.mark.parametrize(("task", "ratio"), [("og-point-maze", 1.4), ("cheetah-run", None)])
def test_it_dreams_better_than_a_still_and_follows_actions(task: str, ratio: float | None) -> None:
    """Bounds lie well below the numbers in docs/reproduce.md: a few clips vary."""
    order = EvaluationOrder(
        tasks=(task,),
        live=LiveConfig(num_episodes=4, max_steps=60, num_probes=4),
        behaviour=BEHAVIOUR,
        has_single_substep=False,
    )
    (measured,) = evaluate_live(load_world_model(FOLDER), order)
    if ratio is not None:
        assert float(measured.following.ratio) > ratio
    assert task_numbers(measured)["rollout_gain_db"] > 0.0
