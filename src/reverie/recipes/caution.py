"""What a plan is worth in a model that doubts itself: from names to an objective."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reverie.core.errors import ConfigError
from reverie.core.seeds import child_seed
from reverie.hallucination.gauges import PAGE_GAUGES, make_gauge
from reverie.hallucination.thresholds import load_thresholds, reading_setup
from reverie.models.dynamics.world import ShortcutWorld
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
_CERTAIN = 0.999
"""A doubt above this is a flag: the reading is above the red limit of its task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caution:
    """How doubts enter the worth of a plan."""

    kind: Kind = "none"
    """``price`` pays beta for full doubt, ``survival`` trusts each reward as far as the dream has
    survived, ``stop`` ends a dream at two flagged steps in a row."""
    predictor: str = "u_f"
    """Of the page: u_r, u_f or u_s. Its limits in the task make the doubt: yellow 0, red 1."""
    beta: float = 1.0
    is_shuffled: bool = False
    """A control: doubts are exchanged at random among candidates and steps."""

    def __post_init__(self) -> None:
        """Refuse what has no limits, and negative prices."""
        if self.predictor not in PAGE_GAUGES or self.beta < 0:
            raise ConfigError(
                f"Caution needs one of {', '.join(PAGE_GAUGES)} and a beta of at least 0, got "
                f"'{self.predictor}' and {self.beta}."
            )


def make_objective(
    folder: Path, world: ShortcutWorld, task: str, caution: Caution, discount: float
) -> Objective:
    """Make the objective of a planner; without caution, the plain return.

    Raises:
        ConfigError: There are no limits for the task.
        CheckpointError: They were fitted for the model with other settings.
    """
    if caution.kind == "none":
        return rewarding(discount)
    thresholds = load_thresholds(folder, reading_setup(folder, world))
    limit = thresholds.limit(task, caution.predictor)
    if limit is None or not limit.yellow < limit.red:
        raise ConfigError(
            f"The model has no limits for '{caution.predictor}' in '{task}'. Fit them with: "
            f"reverie evaluate MODEL --fit-thresholds"
        )
    gauge = make_gauge(f"{caution.predictor}/floored", motion=thresholds.motion)
    doubt = ramp(gauge, low=limit.yellow, high=limit.red)
    if caution.kind == "price":
        chosen = penalised(doubt, beta=caution.beta, discount=discount, limit=_CERTAIN)
    elif caution.kind == "survival":
        chosen = surviving(doubt, discount=discount, limit=_CERTAIN)
    else:
        chosen = stopping(doubt, limit=_CERTAIN, discount=discount)
    if caution.is_shuffled:
        return with_shuffled_risk(chosen, child_seed(0, "caution", task))
    return chosen
