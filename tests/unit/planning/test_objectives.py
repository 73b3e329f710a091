"""Worked examples of the specification (O and Q), and what objectives promise besides."""

from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.core.errors import ConfigError
from reverie.hallucination import normalise
from reverie.planning import objectives
from reverie.planning.objectives import CURIOSITY, MOTION, REWARD, RISK, stop_step

DIGITS = {"abs": 5e-7, "rel": 0}
REWARDS = torch.tensor([[1.0, 1.0, 1.0], [0.9, 0.9, 0.8]], dtype=torch.float64)
RISKS = torch.tensor([[0.1, 0.5, 0.9], [0.05, 0.05, 0.1]], dtype=torch.float64)
READINGS = {REWARD: REWARDS, RISK: RISKS, "alive": torch.ones_like(REWARDS)}


def no_gauge(world: Any, context: Any) -> Tensor:
    raise AssertionError("values are computed from readings alone")


def values(objective: objectives.Objective, **changed: Tensor) -> list[float]:
    return objective.value({**READINGS, **changed}).tolist()


def test_example_o_plain_return_prefers_the_doubtful_plan() -> None:
    assert values(objectives.rewarding(0.99)) == pytest.approx([2.970100, 2.575080], **DIGITS)


def test_example_o_a_price_on_risk_prefers_the_safe_plan() -> None:
    objective = objectives.penalised(no_gauge, beta=1.0, discount=0.99)
    assert values(objective) == pytest.approx([1.493010, 2.377570], **DIGITS)


def test_example_o_survival_prefers_the_safe_plan_without_a_price() -> None:
    objective = objectives.surviving(no_gauge, discount=0.99)
    assert values(objective) == pytest.approx([1.389604, 2.295996], **DIGITS)


def test_a_price_of_zero_is_the_plain_return() -> None:
    priced = objectives.penalised(no_gauge, beta=0.0, discount=0.9)
    assert values(priced) == values(objectives.rewarding(0.9))


def test_rewards_after_the_episode_is_over_do_not_count() -> None:
    alive = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.5, 1.0]], dtype=torch.float64)
    # A step's own reward arrives even if the episode ends with it.
    got = values(objectives.rewarding(), alive=alive)
    assert got == pytest.approx([2.0, 0.9 + 0.9 + 0.4], **DIGITS)


def test_a_dream_stops_at_the_first_of_two_flagged_steps_in_a_row() -> None:
    risk = torch.tensor([[0.1, 0.9, 0.1, 0.8, 0.9], [0.9, 0.1, 0.9, 0.1, 0.9], [0.9] * 5])
    assert stop_step(risk, 0.5, 2).tolist() == [3, 5, 0]
    assert stop_step(risk[:, :1], 0.5, 2).tolist() == [1, 1, 1]


def test_a_stopped_dream_is_worth_the_smallest_promise_for_the_rest() -> None:
    rewards = torch.tensor([[1.0, 1.0, 9.0, 9.0], [1.0, 1.0, 2.0, 0.5]])
    risk = torch.tensor([[0.0, 0.0, 0.9, 0.9], [0.0, 0.9, 0.0, 0.9]])
    objective = objectives.stopping(no_gauge, limit=0.5)
    got = objective.value({REWARD: rewards, RISK: risk, "alive": torch.ones_like(risk)})
    assert got.tolist() == [3.0, 4.5]


U_STILL, M_STILL = torch.tensor([[0.06, 0.05, 0.04]]), torch.tensor([[0.10, 0.02, 0.0005]])
U_MOVING, M_MOVING = torch.tensor([[0.09, 0.10, 0.11]]), torch.tensor([[0.08, 0.09, 0.10]])
TASK_MOTION = 0.08


def interest(readings: Tensor) -> float:
    """Half the mean and half the maximum, without the guard of the objective."""
    objective = objectives.curious(no_gauge, no_gauge, task_motion=TASK_MOTION)
    moving = torch.full_like(readings, TASK_MOTION)
    return float(objective.value({CURIOSITY: readings, MOTION: moving})[0])


def test_example_q_per_step_the_still_plan_wins_and_floored_the_moving_one() -> None:
    still = interest(normalise.per_step(U_STILL, M_STILL))
    moving = interest(normalise.per_step(U_MOVING, M_MOVING))
    assert (still, moving) == pytest.approx((27.183333, 1.118519), abs=5e-6)
    task = torch.full_like(M_STILL, TASK_MOTION)
    still = interest(normalise.floored(U_STILL, M_STILL, task))
    moving = interest(normalise.floored(U_MOVING, M_MOVING, task))
    assert (still, moving) == pytest.approx((1.100000, 1.118519), **DIGITS)


def test_a_plan_that_moves_half_as_much_as_real_data_is_worth_half() -> None:
    objective = objectives.curious(no_gauge, no_gauge, task_motion=0.2)
    doubt, motion = torch.ones(3, 4), torch.tensor([[0.2], [0.1], [0.8]]).expand(3, 4)
    assert objective.value({CURIOSITY: doubt, MOTION: motion}).tolist() == [1.0, 0.5, 1.0]


def test_curiosity_without_a_known_motion_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs the motion of real data of the task, got 0.0"):
        objectives.curious(no_gauge, no_gauge, task_motion=0.0)


def test_shuffled_risks_keep_their_sum_and_lose_their_place() -> None:
    objective = objectives.penalised(no_gauge, beta=1.0)
    mixed = objectives.with_shuffled_risk(objective, seed=3)
    assert sum(values(mixed)) == pytest.approx(sum(values(objective)))
    assert values(mixed) != pytest.approx(values(objective))
    assert values(mixed) == values(objectives.with_shuffled_risk(objective, seed=3))
