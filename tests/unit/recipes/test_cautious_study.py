"""Caution: every variant from the same starts, each beside plain planning and its own control."""

from dataclasses import replace
from pathlib import Path

import pytest

from reverie.core.errors import CheckpointError, ConfigError, DataError, UnknownNameError
from reverie.hallucination.thresholds import Limit, TaskThresholds, Thresholds, reading_setup
from reverie.models.load import load_world_model, save_world_model
from reverie.recipes.caution import Caution, make_objective
from reverie.recipes.cautious_study import (
    VARIANTS,
    CautiousStudy,
    choose_variants,
    study_cautious,
)
from reverie.recipes.planning import PlanningOrder
from tests.support.small_world import make_small_world
from tests.support.tiny_adapt import KNOWN_TASK, TINY_STUDY_PLAN

ORDER = PlanningOrder(tasks=(KNOWN_TASK,), num_episodes=2, max_steps=4, plan=TINY_STUDY_PLAN)


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
    assert "score_minus_plain" not in red["plain"]
    give_limits(model, 1e8, 1e9)
    green = study_cautious(model, study, tmp_path / "green", num_workers=1)["rows"]
    assert green["price 1"]["abstention_share"] == 0.0
    # Without doubt, caution plans as if there were none.
    assert green["price 1"]["score_minus_plain"]["middle"] == 0.0
    assert green["price 1"]["return_minus_plain"]["middle"] == 0.0
    written = (tmp_path / "green" / "study.md").read_text()
    assert "| price 1 |" in written and "return_minus_plain" in written
    assert (tmp_path / "green" / "study.png").read_bytes().startswith(b"\x89PNG")


def test_a_price_is_compared_with_its_own_shuffled_control(model: Path, tmp_path: Path) -> None:
    price = Caution(kind="price", predictor="u_f")
    shuffled = replace(price, is_shuffled=True)
    variants = {
        "plain": Caution(),
        "price": price,
        "control": shuffled,
        "other": replace(price, beta=2.0),
    }
    give_limits(model, 0.1, 0.2)
    study = CautiousStudy(planning=ORDER, variants=variants)
    rows = study_cautious(model, study, tmp_path / "study", num_workers=1)["rows"]
    compared = {name for name, row in rows.items() if "return_minus_shuffled" in row}
    assert compared == {"price"}, "neither the control itself nor a price without one"
    means = {name: row["return"]["mean"] for name, row in rows.items()}
    found = rows["price"]["return_minus_shuffled"]["mean"]
    assert found == pytest.approx(means["price"] - means["control"], abs=1e-6)
    assert set(rows["control"]) >= {"score", "success_any", "return", "success_any_minus_plain"}


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
