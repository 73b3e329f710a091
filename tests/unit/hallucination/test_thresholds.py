"""Limits are absolute, travel with their model, and refuse any other."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reverie.core.errors import CheckpointError, DataError
from reverie.hallucination.thresholds import (
    Limit,
    ReadingSetup,
    Thresholds,
    fit_task,
    load_thresholds,
)
from reverie.models.load import model_digest, save_world_model
from tests.support.small_world import make_small_world

SETUP = ReadingSetup(checkpoint="abc", num_flow_steps=4, commit_signal=0.875, num_seeds=2)


def make_thresholds() -> Thresholds:
    readings = {"u_r": np.linspace(0.0, 1.0, 100).reshape(10, 10)}
    task = fit_task(readings, np.zeros((10, 10), bool), motion=0.1)
    return Thresholds(setup=SETUP, tasks={"toy-paint": task})


def test_limits_are_the_quantiles_of_good_steps() -> None:
    good, bad = np.linspace(0.0, 1.0, 200), np.full(200, 50.0)
    readings = {"u_r": np.stack([good, bad])}
    diverged = np.stack([np.zeros(200, bool), np.ones(200, bool)])
    task = fit_task(readings, diverged, motion=0.1)
    assert task.limits["u_r"].yellow == pytest.approx(0.9)
    assert task.limits["u_r"].red == pytest.approx(0.975)
    assert task.num_steps == 200 and not task.uses_diverged


def test_too_few_good_steps_fall_back_to_all_and_say_so() -> None:
    readings = {"u_r": np.linspace(0.0, 1.0, 100)[None]}
    task = fit_task(readings, np.arange(100)[None] > 20, motion=0.1)
    assert task.uses_diverged and task.num_steps == 100
    assert task.limits["u_r"].yellow == pytest.approx(0.9)


def test_a_reading_that_is_never_finite_gets_no_limit() -> None:
    readings = {"u_f": np.full((4, 16), np.nan), "u_r": np.ones((4, 16))}
    task = fit_task(readings, np.zeros((4, 16), bool), motion=0.1)
    assert list(task.limits) == ["u_r"]


@pytest.mark.parametrize(
    ("reading", "level"),
    [(0.5, "green"), (1.0, "green"), (1.5, "yellow"), (2.0, "yellow"), (2.1, "red")],
)
def test_levels(reading: float, level: str) -> None:
    assert Limit(yellow=1.0, red=2.0).level(reading) == level


def test_a_reading_that_is_not_a_number_is_never_green() -> None:
    assert Limit(yellow=1.0, red=2.0).level(float("nan")) == "red"


def relative(reading: float, history: tuple[float, ...]) -> float:
    """How far above its own history a reading lies: the published light, kept as a contrast."""
    middle = np.median(history)
    spread = 1.4826 * np.median(np.abs(np.array(history) - middle))
    return float((reading - middle) / max(spread, 0.05 * abs(middle), 1e-8))


def test_the_same_reading_has_one_colour_whatever_came_before_it() -> None:
    history = (0.10, 0.11, 0.12, 0.10, 0.50)
    found = [relative(reading, history) for reading in (0.13, 0.14, 0.20)]
    assert found == pytest.approx([1.348982, 2.023472, 6.070417], abs=5e-7)
    # A light of that kind turns red at 0.2 in a calm dream and stays green at 3.1 in a lost one.
    limit = Limit(yellow=0.15, red=0.4)
    assert [limit.level(reading) for reading in (0.13, 0.2, 3.1)] == ["green", "yellow", "red"]


def test_a_dream_wrong_from_its_first_step_is_red_from_its_first_step() -> None:
    thresholds = make_thresholds()
    # Example D of the specification: relative to its own history this reads green.
    wrong = (2.9, 3.0, 3.1, 3.0, 3.2)
    assert relative(3.1, wrong) == pytest.approx(0.666667, abs=5e-7)
    for reading in wrong:
        assert thresholds.level("toy-paint", "u_r", reading) == "red"
    assert thresholds.level("toy-fall", "u_r", 9.0) is None


def test_saved_limits_come_back(tmp_path: Path) -> None:
    thresholds = make_thresholds()
    thresholds.save(tmp_path)
    assert load_thresholds(tmp_path, SETUP) == thresholds
    assert thresholds.motion == {"toy-paint": 0.1}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"checkpoint": "def"}, "checkpoint abc, and the model runs with def"),
        ({"num_flow_steps": 8}, "num_flow_steps 4, and the model runs with 8"),
        ({"commit_signal": 0.9}, "commit_signal 0.875"),
        ({"num_seeds": 3}, "num_seeds 2"),
        ({"normaliser": "step"}, "normaliser floored"),
    ],
)
def test_limits_of_another_setup_are_refused(
    tmp_path: Path, change: dict[str, object], text: str
) -> None:
    make_thresholds().save(tmp_path)
    with pytest.raises(CheckpointError, match=text):
        load_thresholds(tmp_path, replace(SETUP, **change))


def test_missing_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no limits for readings"):
        load_thresholds(tmp_path, SETUP)
    (tmp_path / "readings.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        load_thresholds(tmp_path, SETUP)
    (tmp_path / "readings.json").write_text(json.dumps({"setup": {}}))
    with pytest.raises(DataError, match="missing"):
        load_thresholds(tmp_path, SETUP)


def test_the_digest_follows_weights_and_ignores_metrics(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a model folder"):
        model_digest(tmp_path)
    found = []
    for seed, metrics in ((0, {}), (0, {"psnr": 1.0}), (1, {})):
        save_world_model(tmp_path, make_small_world(seed), metrics=metrics)
        found.append(model_digest(tmp_path))
    assert found[0] == found[1] != found[2]
