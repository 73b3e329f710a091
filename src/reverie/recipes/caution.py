"""What a plan is worth in a model that doubts itself: from names to an objective."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reverie.core.errors import ConfigError
from reverie.core.seeds import child_seed
from reverie.hallucination.calibrate import calibration_setup, load_calibration, rate_key
from reverie.hallucination.gauges import PAGE_GAUGES, make_gauge
from reverie.hallucination.instant import probability_gauge
from reverie.hallucination.thresholds import (
    load_thresholds,
    reading_setup,
)
from reverie.models.api import Gauge
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.load import model_digest
from reverie.planning.gauges import ramp
from reverie.planning.objectives import (
    Objective,
    penalised,
    rewarding,
    stopping,
    surviving,
    with_shuffled_risk,
)

Kind = Literal["none", "price", "survival", "stop"]
PROBABILITY = "probability"
"""The calibrated probability of a single step, that ``reverie calibrate`` fits."""
DOUBTS = (PROBABILITY, *PAGE_GAUGES)
ALARM_RATE = 0.05
"""A calibrated doubt is a flag above the threshold that so many good dreams exceed."""
_CERTAIN = 0.999
"""A doubt above this is a flag: the reading is above the red limit of its task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caution:
    """How doubts enter the worth of a plan."""

    kind: Kind = "none"
    """``price`` pays beta for full doubt, ``survival`` trusts each reward as far as the dream has
    survived, ``stop`` ends a dream at two flagged steps in a row."""
    predictor: str = PROBABILITY
    """The model's calibrated probability, or one of the page's readings, u_r, u_f or u_s, whose
    limits in the task make the doubt: yellow 0, red 1."""
    beta: float = 1.0
    is_shuffled: bool = False
    """A control: doubts are exchanged at random among candidates and steps."""

    def __post_init__(self) -> None:
        """Refuse what has no limits, and negative prices."""
        if self.predictor not in DOUBTS or self.beta < 0:
            raise ConfigError(
                f"Caution needs one of {', '.join(DOUBTS)} and a beta of at least 0, got "
                f"'{self.predictor}' and {self.beta}."
            )


def make_objective(
    folder: Path, world: ShortcutWorld, task: str, caution: Caution, discount: float
) -> Objective:
    """Make the objective of a planner; without caution, the plain return.

    Raises:
        ConfigError: There are no limits for the task.
        DataError: There is no calibration.
        CheckpointError: Either was fitted for the model with other settings.
    """
    if caution.kind == "none":
        return rewarding(discount)
    doubt, limit = (
        _calibrated(folder, world)
        if caution.predictor == PROBABILITY
        else _ramped(folder, world, task, caution.predictor)
    )
    if caution.kind == "price":
        chosen = penalised(doubt, beta=caution.beta, discount=discount, limit=limit)
    elif caution.kind == "survival":
        chosen = surviving(doubt, discount=discount, limit=limit)
    else:
        chosen = stopping(doubt, limit=limit, discount=discount)
    if caution.is_shuffled:
        return with_shuffled_risk(chosen, child_seed(0, "caution", task))
    return chosen


def _calibrated(folder: Path, world: ShortcutWorld) -> tuple[Gauge, float]:
    """Return the calibrated probability as a gauge, and the threshold of its flag."""
    calibration = load_calibration(folder, calibration_setup(model_digest(folder), world))
    instant = calibration.instant
    if instant is None:
        raise ConfigError(
            f"The calibration in '{folder}' has no map of single steps, which planners need. Fit "
            f"it again with: reverie calibrate MODEL"
        )
    limit = instant.thresholds.get(rate_key(ALARM_RATE))
    # None: too few good dreams for the rate, so nothing is ever flagged.
    return probability_gauge(instant), float("inf") if limit is None else limit


def _ramped(folder: Path, world: ShortcutWorld, task: str, predictor: str) -> tuple[Gauge, float]:
    """Return a reading between its limits in the task as a doubt, and what counts as certain."""
    thresholds = load_thresholds(folder, reading_setup(folder, world))
    limit = thresholds.limit(task, predictor)
    if limit is None or not limit.yellow < limit.red:
        raise ConfigError(
            f"The model has no limits for '{predictor}' in '{task}'. Fit them with: "
            f"reverie evaluate MODEL --fit-thresholds"
        )
    gauge = make_gauge(f"{predictor}/floored", motion=thresholds.motion)
    return ramp(gauge, low=limit.yellow, high=limit.red), _CERTAIN
