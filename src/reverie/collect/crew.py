"""What a collector needs of its workers, whether they are processes here or actors on a cluster."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reverie.collect.order import OrderItem
from reverie.collect.worker import ItemResult

PATIENCE_S = 1800.0
"""How long one episode may take before its worker counts as hung and is replaced: several times
what the slowest expert needs on a busy machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """An episode whose worker is gone; another worker has taken its place."""

    item: OrderItem
    reason: str
    """What became of the worker, as the end of a sentence about the episode."""


class Crew(Protocol):
    """Workers that play ordered episodes into one store, each one at a time."""

    @property
    def num_idle(self) -> int:
        """How many workers wait for an episode."""
        ...

    @property
    def num_busy(self) -> int:
        """How many workers are at one."""
        ...

    def give(self, item: OrderItem) -> None:
        """Let an idle worker play an episode. Returns at once."""
        ...

    def wait(self) -> Sequence[ItemResult | Lost]:
        """Wait until at least one busy worker has ended its episode, or was lost with it."""
        ...

    def close(self) -> None:
        """End all workers, whatever they are at."""
        ...


MakeCrew = Callable[[Path, int], Crew]
"""Store and number of workers to the workers themselves."""


def hung_reason(patience_s: float) -> str:
    """Say why a worker that gave no sign was ended."""
    return (
        f"it did not end within {patience_s:.0f} s, so its process was ended; its simulator, or "
        f"the driver that draws it, hangs on this machine."
    )
