"""Studies: every variant from the same starts, every source from the same seeds, honest tables."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reverie.core.errors import CheckpointError, ConfigError, DataError, UnknownNameError
from reverie.hallucination.thresholds import Limit, TaskThresholds, Thresholds, reading_setup
from reverie.models.load import load_world_model, save_world_model
from reverie.planning.optimisers import SearchConfig
from reverie.planning.plan import PlanConfig
from reverie.recipes.adapt import AdaptOrder
from reverie.recipes.caution import Caution, make_objective
from reverie.recipes.planning import PlanningOrder
from reverie.recipes.studies import (
    VARIANTS,
    CautiousStudy,
    TargetedStudy,
    average,
    choose_variants,
    spread,
    study_cautious,
    study_targeted,
    table,
)
from tests.support.small_world import make_small_world
from tests.support.tiny_adapt import KNOWN_TASK, NEW_TASK, tiny_order

TINY = PlanConfig(
    horizon=2,
    num_executed=2,
    num_dreams=1,
    num_finalists=1,
    search=SearchConfig(num_candidates=3, num_elites=2, num_iterations=1),
)
ORDER = PlanningOrder(tasks=(KNOWN_TASK,), num_episodes=2, max_steps=4, plan=TINY)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    save_world_model(folder, make_small_world(tasks=(KNOWN_TASK,)))
    return folder


def give_limits(folder: Path, yellow: float, red: float) -> None:
    limits = {"u_f": Limit(yellow=yellow, red=red)}
    task = TaskThresholds(motion=0.1, limits=limits, num_steps=99, uses_diverged=False)
    setup = reading_setup(folder, load_world_model(folder))
    Thresholds(setup=setup, tasks={KNOWN_TASK: task}).save(folder)


def test_a_dream_that_is_red_everywhere_makes_caution_abstain_and_a_green_one_does_not(
    model: Path, tmp_path: Path
) -> None:
    variants = {"plain": Caution(), "price 1": Caution(kind="price", predictor="u_f")}
    study = CautiousStudy(planning=ORDER, variants=variants)
    give_limits(model, -2.0, -1.0)
    red = study_cautious(model, study, tmp_path / "red", num_workers=1)["rows"]
    assert red["price 1"]["abstention_share"] == 1.0 and red["plain"]["abstention_share"] == 0.0
    assert red["plain"]["score_minus_plain"]["middle"] == 0.0
    give_limits(model, 1e8, 1e9)
    green = study_cautious(model, study, tmp_path / "green", num_workers=1)["rows"]
    assert green["price 1"]["abstention_share"] == 0.0
    # Without doubt, caution plans as if there were none.
    assert green["price 1"]["score_minus_plain"]["middle"] == 0.0
    assert green["price 1"]["return_minus_plain"]["middle"] == 0.0
    written = (tmp_path / "green" / "study.md").read_text()
    assert "| price 1 |" in written and "return_minus_plain" in written
    assert (tmp_path / "green" / "study.png").read_bytes().startswith(b"\x89PNG")


def test_variants_are_chosen_by_name_and_plain_planning_stays() -> None:
    assert list(choose_variants(("price 3",))) == ["plain", "price 3"]
    assert choose_variants(()) == VARIANTS
    with pytest.raises(UnknownNameError, match="variants are: plain; price 0.3"):
        choose_variants(("prize 3",))


def test_caution_without_limits_of_this_very_model_is_refused(model: Path) -> None:
    world = load_world_model(model)
    cautious = Caution(kind="survival", predictor="u_f")
    with pytest.raises(DataError, match="has no limits for readings"):
        make_objective(model, world, KNOWN_TASK, cautious, 1.0)
    give_limits(model, 0.1, 0.2)
    with pytest.raises(ConfigError, match="no limits for 'u_r' in 'toy-paint'"):
        make_objective(model, world, KNOWN_TASK, replace(cautious, predictor="u_r"), 1.0)
    world.num_flow_steps = 2
    with pytest.raises(CheckpointError, match="Limits do not carry over"):
        make_objective(model, world, KNOWN_TASK, cautious, 1.0)
    with pytest.raises(
        ConfigError, match="one of probability, u_r, u_f, u_s and a beta of at least 0"
    ):
        Caution(beta=-1.0)
    with pytest.raises(ConfigError, match="needs the variant 'plain'"):
        CautiousStudy(planning=ORDER, variants={})


@pytest.mark.long
def test_sources_are_compared_at_equal_seeds_and_episodes(model: Path, tmp_path: Path) -> None:
    def order(task: str, num_episodes: int, policy: str) -> AdaptOrder:
        tiny = tiny_order()
        explore = replace(tiny.explore, task=task, policy=policy)
        return replace(tiny, explore=explore, num_episodes=num_episodes, num_rounds=1)

    study = TargetedStudy(
        tasks=(NEW_TASK,),
        policies=("random", "curiosity"),
        num_seeds=2,
        num_episodes=2,
        plan_episodes=1,
        make_order=order,
        planning=ORDER,
    )
    numbers = study_targeted(model, study, tmp_path / "study", num_workers=0)
    assert set(numbers["rows"]) == {"random", "curiosity"}
    curious = numbers["rows"]["curiosity"]
    assert curious["reconstruction_psnr_db"]["num_runs"] == 2
    assert "rollout_gain_db_minus_random" in curious and "planned_score" in curious
    assert study_targeted(model, study, tmp_path / "study", num_workers=0) == numbers


def test_runs_without_a_number_are_left_out_and_counted() -> None:
    values = np.array([[0.1, np.nan, 0.3, 0.4], [0.5, 0.6, 0.9, 1.0]])
    found = spread(values, "example")
    assert found["num_runs"] == 6 and found["num_left_out"] == 2
    assert found["low"] <= found["middle"] == found["iqm"] <= found["high"]
    assert np.isnan(spread(np.full((1, 2), np.nan), "nothing")["iqm"])
    wins = np.eye(4)
    assert spread(wins, "wins")["middle"] == 0.0, "a quarter of wins is cut away"
    assert spread(wins, "wins", average)["middle"] == 0.25


def test_a_table_shows_an_interval_with_every_mean() -> None:
    row = {"score": {"middle": 0.25, "low": 0.1, "high": 0.4, "mean": 0.2}, "share": 0.5}
    text = table({"study": "cautious", "rows": {"plain": row, "other": {"share": 0.1}}})
    assert "| plain | 0.250 [0.100, 0.400] | 0.500 |" in text
    assert "| other | – | 0.100 |" in text
