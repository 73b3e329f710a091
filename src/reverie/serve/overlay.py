"""From readings to a colour: absolute limits per task, nothing relative to the episode."""

from collections.abc import Iterable, Mapping

from reverie.hallucination.thresholds import Limit
from reverie.serve.protocol import Level, Outlook, Reading, Threshold, finite_or_none

_ORDER: tuple[Level, ...] = ("unknown", "green", "yellow", "red")


def judge(
    raw: Mapping[str, float], normalised: Mapping[str, float], limits: Mapping[str, Limit]
) -> tuple[Reading, ...]:
    """Join raw and normalised values with their colour.

    Args:
        raw: Predictor name to raw value.
        normalised: The same names to values divided by motion.
        limits: Predictor name to the limits of its normalised value for this task; a predictor
            without limits has no colour.
    """
    return tuple(
        Reading(
            name=name,
            raw=finite_or_none(value),
            normalised=finite_or_none(normalised[name]),
            level=limits[name].level(normalised[name]) if name in limits else "unknown",
        )
        for name, value in raw.items()
    )


def worst_level(levels: Iterable[Level]) -> Level:
    """Return the most alarming level; ``unknown`` only if nothing is known."""
    return _ORDER[max((_ORDER.index(level) for level in levels), default=0)]


def dream_level(readings: Iterable[Reading], outlook: Outlook | None) -> Level:
    """Return how far to trust the dream: the worst reading, and red once it was flagged."""
    levels: list[Level] = [reading.level for reading in readings]
    if outlook is not None and outlook.flagged_at is not None:
        levels.append("red")
    return worst_level(levels)


def to_thresholds(limits: Mapping[str, Limit]) -> tuple[Threshold, ...]:
    """Write limits as the page reads them."""
    return tuple(
        Threshold(name=name, yellow=limit.yellow, red=limit.red) for name, limit in limits.items()
    )
