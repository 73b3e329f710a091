"""The shipped model of six simulators dreams them; what every shipped model keeps is beside it."""

import pytest

from reverie.envs.registry import task_spec
from reverie.evaluate.evaluation import task_numbers
from reverie.evaluate.live import LiveConfig
from reverie.models.load import load_world_model, pretrained_folder
from reverie.recipes.domains import BEHAVIOUR, TASKS
from reverie.recipes.evaluation import EvaluationOrder, evaluate_live


def test_its_tasks_come_from_six_simulators() -> None:
    assert len({task_spec(task).domain for task in TASKS}) == 6


@pytest.mark.parametrize(("task", "ratio"), [("og-point-maze", 1.4), ("cheetah-run", None)])
def test_it_dreams_better_than_a_still_and_follows_actions(task: str, ratio: float | None) -> None:
    """Bounds lie well below the numbers in docs/reproduce.md: a few clips vary."""
    order = EvaluationOrder(
        tasks=(task,),
        live=LiveConfig(num_episodes=4, max_steps=60, num_probes=4),
        behaviour=BEHAVIOUR,
        has_single_substep=False,
    )
    (measured,) = evaluate_live(load_world_model(pretrained_folder("domains")), order)
    if ratio is not None:
        assert float(measured.following.ratio) > ratio
    assert task_numbers(measured)["rollout_gain_db"] > 0.0
