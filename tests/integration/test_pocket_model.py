"""The pocket model obeys actions and can doubt; what every shipped model keeps is beside it."""

import pytest

from reverie.evaluate.live import LiveConfig
from reverie.models.load import load_world_model, pretrained_folder
from reverie.recipes.caution import Caution, make_objective
from reverie.recipes.evaluation import EvaluationOrder, evaluate_live
from reverie.recipes.pocket import TASKS

FOLDER = pretrained_folder("pocket")


def test_cautious_plans_find_its_limit_of_risk() -> None:
    world = load_world_model(FOLDER)
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
