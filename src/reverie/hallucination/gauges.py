"""Predictors by name, alone as a gauge or several at once without doing any work twice."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from reverie.core.errors import ConfigError
from reverie.core.registry import Registry, unknown_name_message
from reverie.hallucination import normalise
from reverie.hallucination.predictors import NUM_SEEDS
from reverie.models.api import Gauge, StepContext, WorldModel

PREDICTORS = Registry("gauge", "'u_r', 'u_f', 'u_s' and 'm' are the raw ones")
"""Raw predictors: functions of (world, step context)."""
PREDICTORS.add("u_r", "reverie.hallucination.predictors:round_trip_residual")
PREDICTORS.add("u_f", "reverie.hallucination.predictors:flow_instability")
PREDICTORS.add("u_s", "reverie.hallucination.predictors:seed_dispersion")
PREDICTORS.add("m", "reverie.hallucination.predictors:motion")

MOTION = "m"
PAGE_GAUGES = ("u_r", "u_f", "u_s")
"""What is shown beside a dream, raw and floored."""


def gauge_names() -> tuple[str, ...]:
    """Return every name that ``make_gauge`` accepts: raw, then divided by each kind of motion."""
    raw = PREDICTORS.names()
    divided = [name for name in raw if name != MOTION]
    return (*raw, *(f"{name}/{kind}" for name in divided for kind in normalise.VARIANTS))


def make_gauge(
    name: str, *, motion: Mapping[str, float] | None = None, num_seeds: int = NUM_SEEDS
) -> Gauge:
    """Make one gauge.

    Args:
        name: A raw predictor such as ``"u_r"``, or one with its normaliser such as
            ``"u_r/floored"``.
        motion: Mean motion of real data per task, for the normalisers that need it.
        num_seeds: Samples that ``u_s`` compares.

    Raises:
        UnknownNameError: There is no such gauge.
        ConfigError: The normaliser needs ``motion`` and it was not given.
    """
    readings = ReadingSet(names=(name,), motion=motion or {}, num_seeds=num_seeds)

    def gauge(world: WorldModel, context: StepContext) -> Float[Tensor, " b"]:
        return readings.take(world, context)[name]

    return gauge


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingSet:
    """Several gauges that are read together; each raw predictor is computed once a step."""

    names: tuple[str, ...]
    motion: Mapping[str, float] = field(default_factory=dict)
    """Mean motion of real data per task, in the tokenizer's own units."""
    num_seeds: int = NUM_SEEDS

    def __post_init__(self) -> None:
        """Refuse unknown names, and normalisers that lack what they need."""
        known = gauge_names()
        for name in self.names:
            if name not in known:
                PREDICTORS.target(name.partition("/")[0])
                kinds = ", ".join(f"'{kind}'" for kind in normalise.VARIANTS)
                hint = f"A predictor can be divided by {kinds}; 'm' cannot be divided"
                raise ConfigError(unknown_name_message("gauge", name, known, hint))
            kind = name.partition("/")[2]
            if kind in ("task", "floored") and not self.motion:
                raise ConfigError(
                    f"The gauge '{name}' needs the motion of real data per task. Pass motion=, "
                    f"or take '{name.partition('/')[0]}/step'."
                )

    @torch.no_grad()
    def take(self, world: WorldModel, context: StepContext) -> dict[str, Float[Tensor, " b"]]:
        """Read every gauge of one dreamed step; changes neither the state nor later steps."""
        raw: dict[str, Float[Tensor, " b"]] = {}
        for name in self._raw_names():
            predictor = PREDICTORS.load(name)
            if name == "u_s":
                raw[name] = predictor(world, context, self.num_seeds)
            else:
                raw[name] = predictor(world, context)
        return {name: self._normalised(name, raw, context) for name in self.names}

    def _raw_names(self) -> list[str]:
        needed = [name.partition("/")[0] for name in self.names]
        if any("/" in name for name in self.names):
            needed.append(MOTION)
        return list(dict.fromkeys(needed))

    def _normalised(
        self, name: str, raw: Mapping[str, Float[Tensor, " b"]], context: StepContext
    ) -> Float[Tensor, " b"]:
        base, _, kind = name.partition("/")
        reading = raw[base]
        if not kind:
            return reading
        if kind == "step":
            return normalise.per_step(reading, raw[MOTION])
        of_task = normalise.task_motions(context.before.task, self.motion, reading)
        if kind == "task":
            return normalise.per_task(reading, of_task)
        return normalise.floored(reading, raw[MOTION], of_task)


def page_readings(motion: Mapping[str, float], num_seeds: int = NUM_SEEDS) -> ReadingSet:
    """Make the set that is shown beside a dream: each predictor raw and floored, and motion."""
    names = (*PAGE_GAUGES, *(f"{name}/floored" for name in PAGE_GAUGES), MOTION)
    return ReadingSet(names=names, motion=motion, num_seeds=num_seeds)
