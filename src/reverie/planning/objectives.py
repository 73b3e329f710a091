"""What a whole dreamed sequence is worth, given the readings of its steps.

An objective names the gauges it needs and turns their readings, one row a candidate and one
column a step, into one value a candidate. A plain gauge is an objective too: see ``discounted``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from reverie.core.errors import ConfigError
from reverie.models.api import Gauge, StepContext, WorldModel
from reverie.planning import gauges

STOP_PATIENCE = 2
"""A dream that is flagged for so many steps in a row is over."""
RISK = "risk"
"""Name of the reading that caution looks at: a probability that the dream is wrong."""
REWARD = "reward"
MOTION = "motion"
CURIOSITY = "curiosity"

Readings = Mapping[str, Float[Tensor, "k h"]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Objective:
    """Gauges by name, and the value of their readings."""

    gauges: Mapping[str, Gauge]
    value: Callable[[Readings], Float[Tensor, " k"]]
    risk_limit: float = float("inf")
    """A step whose ``risk`` reading is above it is flagged; such steps are not executed."""


ALIVE = "alive"


def _alive(world: WorldModel, context: StepContext) -> Float[Tensor, " b"]:
    return context.prediction.continues


_REWARDS: Mapping[str, Gauge] = MappingProxyType({REWARD: gauges.reward, ALIVE: _alive})


def discounts(num_steps: int, discount: float, like: Tensor) -> Float[Tensor, " h"]:
    """Return discount^t for t = 0 … h-1."""
    steps = torch.arange(num_steps, device=like.device, dtype=like.dtype)
    return torch.as_tensor(discount, device=like.device, dtype=like.dtype) ** steps


def discounted(gauge: Gauge, discount: float = 1.0) -> Objective:
    """Make the plainest objective: the discounted sum of one gauge."""

    def value(readings: Readings) -> Float[Tensor, " k"]:
        one = readings["gauge"]
        return (one * discounts(one.shape[1], discount, one)).sum(dim=1)

    return Objective(gauges={"gauge": gauge}, value=value)


def rewarding(discount: float = 1.0) -> Objective:
    """Maximise the return: each reward counts as far as the episode is still going on then."""

    def value(readings: Readings) -> Float[Tensor, " k"]:
        return _expected(readings, discount).sum(dim=1)

    return Objective(gauges=_REWARDS, value=value)


def penalised(
    risk: Gauge, *, beta: float, discount: float = 1.0, limit: float | None = None
) -> Objective:
    """Maximise the sum of discount^t * (reward_t - beta * risk_t): pay for doubtful steps.

    Args:
        risk: Reads a probability that the dream is wrong.
        beta: Price of certain error, in units of reward.
        discount: Per step.
        limit: Flag steps whose risk is above it.
    """

    def value(readings: Readings) -> Float[Tensor, " k"]:
        price = beta * readings[RISK] * discounts(readings[RISK].shape[1], discount, readings[RISK])
        return (_expected(readings, discount) - price).sum(dim=1)

    return Objective(gauges={**_REWARDS, RISK: risk}, value=value, risk_limit=_limit(limit))


def surviving(risk: Gauge, *, discount: float = 1.0, limit: float | None = None) -> Objective:
    """Maximise the sum of discount^t * reward_t * prod over s <= t of (1 - risk_s).

    Right for rewards that are not negative: where they are, a doomed dream would be a way out.
    """

    def value(readings: Readings) -> Float[Tensor, " k"]:
        trust = (1.0 - readings[RISK].clamp(0.0, 1.0)).cumprod(dim=1)
        return (_expected(readings, discount) * trust).sum(dim=1)

    return Objective(gauges={**_REWARDS, RISK: risk}, value=value, risk_limit=_limit(limit))


def stopping(
    risk: Gauge, *, limit: float, discount: float = 1.0, patience: int = STOP_PATIENCE
) -> Objective:
    """Maximise the return up to the step where the dream stops deserving trust.

    What follows the stop is worth the smallest reward that any candidate was promised: a
    pessimistic stand-in, so that neither an early nor a late stop is a way to gain.
    """

    def value(readings: Readings) -> Float[Tensor, " k"]:
        ends = stop_step(readings[RISK], limit, patience)
        steps = torch.arange(readings[RISK].shape[1], device=ends.device)
        is_trusted = steps[None] < ends[:, None]
        rewards = torch.where(is_trusted, readings[REWARD], readings[REWARD].min())
        return _expected({**readings, REWARD: rewards}, discount).sum(dim=1)

    return Objective(gauges={**_REWARDS, RISK: risk}, value=value, risk_limit=limit)


def with_shuffled_risk(objective: Objective, seed: int) -> Objective:
    """Return the objective with the risks of all candidates and steps exchanged at random.

    A control: caution that helps must lose its gain when it no longer knows what is risky.
    """

    def value(readings: Readings) -> Float[Tensor, " k"]:
        risk = readings[RISK]
        order = torch.randperm(risk.numel(), generator=torch.Generator().manual_seed(seed))
        mixed = risk.flatten()[order.to(risk.device)].view_as(risk)
        return objective.value({**readings, RISK: mixed})

    return replace(objective, value=value)


def stop_step(risk: Float[Tensor, "k h"], limit: float, patience: int) -> Int[Tensor, " k"]:
    """Return the first step of the first ``patience`` flagged ones in a row; h if there is none."""
    num_steps = risk.shape[1]
    never = torch.full_like(risk[:, 0], num_steps, dtype=torch.long)
    if num_steps < patience:
        return never
    starts = (risk > limit).unfold(1, patience, 1).all(dim=2)
    return torch.where(starts.any(dim=1), starts.long().argmax(dim=1), never)


def curious(reading: Gauge, motion: Gauge, *, task_motion: float) -> Objective:
    """Maximise doubt: half its mean and half its maximum over the sequence (arXiv 2606.27326).

    # Differs from the paper: a sequence that moves less than real data of the task does is worth
    # proportionally less. A reading divided by motion is largest where nothing moves, and would
    # be farmed by standing still.

    Args:
        reading: The doubt; divided by a floored motion, such as ``"u_r/floored"``.
        motion: The step's motion, in the units of ``task_motion``.
        task_motion: Mean motion of real data of the task.

    Raises:
        ConfigError: The motion of the task is not positive.
    """
    if not task_motion > 0.0:
        raise ConfigError(
            f"Curiosity needs the motion of real data of the task, got {task_motion}. Measure it "
            f"on a few random episodes."
        )

    def value(readings: Readings) -> Float[Tensor, " k"]:
        doubt = readings[CURIOSITY]
        interest = 0.5 * doubt.mean(dim=1) + 0.5 * doubt.amax(dim=1)
        return interest * (readings[MOTION].mean(dim=1) / task_motion).clamp_max(1.0)

    return Objective(gauges={CURIOSITY: reading, MOTION: motion}, value=value)


def flags(readings: Readings, limit: float) -> Bool[Tensor, "k h"]:
    """Tell which steps are flagged; none where the objective reads no risk."""
    first = next(iter(readings.values()))
    return (
        torch.zeros_like(first, dtype=torch.bool)
        if RISK not in readings
        else readings[RISK] > limit
    )


def _expected(readings: Readings, discount: float) -> Float[Tensor, "k h"]:
    """Discount rewards, and weigh each by the chance that the episode still goes on before it."""
    rewards = readings[REWARD]
    before = torch.cat([torch.ones_like(rewards[:, :1]), readings[ALIVE][:, :-1]], dim=1)
    return rewards * discounts(rewards.shape[1], discount, rewards) * before.cumprod(dim=1)


def _limit(limit: float | None) -> float:
    return float("inf") if limit is None else limit
