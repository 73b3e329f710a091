"""Planning with the model's own calibrated probability as its doubt."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reverie.core.errors import CheckpointError, ConfigError, DataError
from reverie.evaluate.detection import FitOrder, fit_calibration
from reverie.hallucination.calibrate import Calibration, calibration_setup
from reverie.models.load import load_world_model, model_digest, save_world_model
from reverie.planning.objectives import RISK
from reverie.planning.optimisers import SearchConfig
from reverie.planning.plan import PlanConfig
from reverie.recipes.caution import Caution, make_objective
from reverie.recipes.planning import PLANNER, PlanningOrder, read_episodes, run_planning
from tests.support.small_world import make_small_world
from tests.support.watched import make_dreams

TASK = "toy-paint"
TINY = PlanConfig(
    horizon=2,
    num_executed=2,
    num_dreams=1,
    num_finalists=1,
    search=SearchConfig(num_candidates=3, num_elites=2, num_iterations=1),
)
PRICE = Caution(kind="price")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    save_world_model(folder, make_small_world(tasks=(TASK,)))
    return folder


def calibrate(folder: Path) -> Calibration:
    setup = calibration_setup(model_digest(folder), load_world_model(folder))
    order = FitOrder(setup=setup, domains={}, channels=("u_s",))
    calibration = fit_calibration(make_dreams(0), order)
    calibration.save(folder)
    return calibration


def with_limit(calibration: Calibration, limit: float | None) -> Calibration:
    assert calibration.instant is not None
    thresholds = {**calibration.instant.thresholds, "0.05": limit}
    return replace(calibration, instant=replace(calibration.instant, thresholds=thresholds))


def test_a_cautious_planner_reads_the_probability_that_ships_with_its_model(model: Path) -> None:
    calibration = calibrate(model)
    world = load_world_model(model)
    assert calibration.instant is not None
    objective = make_objective(model, world, TASK, PRICE, 1.0)
    assert objective.risk_limit == calibration.instant.thresholds["0.05"]
    risk = torch.tensor([[0.0, 0.0], [0.5, 0.5]])
    readings = {"reward": torch.zeros(2, 2), "alive": torch.ones(2, 2), RISK: risk}
    assert objective.value(readings).tolist() == [0.0, -1.0]
    with_limit(calibration, None).save(model)
    assert np.isinf(make_objective(model, world, TASK, PRICE, 1.0).risk_limit)


def test_a_flagged_probability_makes_a_real_run_abstain(model: Path, tmp_path: Path) -> None:
    calibration = calibrate(model)
    order = PlanningOrder(tasks=(TASK,), num_episodes=1, max_steps=4, plan=TINY, caution=PRICE)
    for limit, share in ((-1.0, 1.0), (None, 0.0)):
        with_limit(calibration, limit).save(model)
        out = tmp_path / f"{limit}"
        run_planning(model, order, out, num_workers=1)
        planned = next(e for e in read_episodes(out, order) if e.policy == PLANNER)
        assert planned.counts["abstentions"] == share * planned.counts["decisions"]


def test_caution_without_a_calibration_of_the_model_as_it_runs_is_refused(model: Path) -> None:
    world = load_world_model(model)
    with pytest.raises(DataError, match="no calibrated probability. Fit it with: reverie calib"):
        make_objective(model, world, TASK, PRICE, 1.0)
    calibration = calibrate(model)
    world.num_flow_steps = 2
    with pytest.raises(CheckpointError, match="fitted for num_flow_steps 4, and the model runs"):
        make_objective(model, world, TASK, PRICE, 1.0)
    world.num_flow_steps = 4
    replace(calibration, instant=None).save(model)
    with pytest.raises(ConfigError, match="has no map of single steps, which planners need"):
        make_objective(model, world, TASK, PRICE, 1.0)
