"""What a training tells people while it runs; the command line draws it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far one phase is, for a line that redraws itself."""

    phase: str
    done: int
    total: int
    unit: str = "steps"
    """What is counted, in the plural."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Speeds per second by unit, such as ``{"steps": 5.1, "frames": 979}``."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Readings worth watching, such as losses."""

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at the present speed; None while the speed is unknown."""
        rate = self.rates.get(self.unit, 0.0)
        return (self.total - self.done) / rate if rate > 0 else None


class Audience(Protocol):
    """Who is told."""

    def say(self, text: str) -> None:
        """Take a sentence that stays: a phase began, a checkpoint was written, an alarm."""
        ...

    def show(self, progress: Progress) -> None:
        """Take the newest state of the phase; it may replace the one shown before."""
        ...


class Silence:
    """An audience that is not there."""

    def say(self, text: str) -> None:
        """Ignore the sentence."""

    def show(self, progress: Progress) -> None:
        """Ignore the progress."""
