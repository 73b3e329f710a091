"""A probability from one step alone, as a plain gauge: for planners, curiosity, dream ends.

``Calibration`` judges a dream with its history and its context, which a gauge does not have. This
map uses the published readings of a single step only. It is weaker; within one decision, where
all candidates share their context, what it ranks by is what differs.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from reverie.hallucination.gauges import ReadingSet
from reverie.models.api import Gauge, StepContext, WorldModel

READINGS = ("u_r", "u_f", "u_s", "m")
SMALLEST = 1e-6
"""Readings are raised to this before the logarithm."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InstantMap:
    """Logarithms of a step's readings to a probability."""

    readings: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    knots: tuple[float, ...]
    """Logits where the isotonic curve bends."""
    values: tuple[float, ...]
    thresholds: dict[str, float | None]
    """False-alarm rate to the pooled threshold; None never flags."""

    def probability(self, readings: dict[str, Float[Tensor, " b"]]) -> Float[Tensor, " b"]:
        """Return P(diverged within the frames ahead); not-a-number where a reading is."""
        first = readings[self.readings[0]]
        rows = torch.stack([instant_feature(readings[name]) for name in self.readings], dim=1)
        mean, std, weights = (
            torch.tensor(part, dtype=rows.dtype, device=rows.device)
            for part in (self.mean, self.std, self.weights)
        )
        logits = ((rows - mean) / std) @ weights + self.bias
        return self._curve(logits).to(first.dtype)

    def _curve(self, logits: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        knots = torch.tensor(self.knots, dtype=logits.dtype, device=logits.device)
        values = torch.tensor(self.values, dtype=logits.dtype, device=logits.device)
        if len(knots) < 2:
            return torch.where(logits.isnan(), logits, values[0])
        inside = logits.clamp(knots[0], knots[-1])
        right = torch.searchsorted(knots, inside).clamp(1, len(knots) - 1)
        low, high = knots[right - 1], knots[right]
        share = torch.where(high > low, (inside - low) / (high - low), torch.ones_like(inside))
        return values[right - 1] + share * (values[right] - values[right - 1])


def instant_feature(values: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Return the logarithm that the map reads, in double precision."""
    exact = values.double()
    return torch.where(exact.isnan(), exact, exact.clamp(min=SMALLEST)).log()


def probability_gauge(instant: InstantMap) -> Gauge:
    """Make the gauge: the chance that the dream goes wrong in the frames after this step."""
    reading_set = ReadingSet(names=instant.readings)

    def gauge(world: WorldModel, step: StepContext) -> Float[Tensor, " b"]:
        return instant.probability(reading_set.take(world, step))

    return gauge
