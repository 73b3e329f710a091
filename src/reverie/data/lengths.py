"""Windows of two lengths: many short batches and few long ones of as many frames."""

from typing import Any

from reverie.core.seeds import numpy_rng
from reverie.data.sampling import WindowSampler
from reverie.data.windows import WindowRef


class MixedLengths:
    """Draws each step's windows from one of two samplers; all ranks choose alike.

    Dreamer 4 alternates many short batches with few long ones and ends on long ones only: most of
    the speed of the short, all of the quality of the long (arXiv 2509.24527, section 3).
    """

    def __init__(
        self,
        short: WindowSampler,
        long: WindowSampler,
        *,
        long_share: float,
        first_all_long: int,
        seed: int,
    ) -> None:
        """Prepare.

        Args:
            short: Most batches.
            long: The others; has fewer rows, so that a batch has about as many frames.
            long_share: Chance of a long batch.
            first_all_long: Step from which all batches are long.
            seed: Same on all ranks: a long batch on one and a short one on another would hang.
        """
        self._short, self._long = short, long
        self._long_share, self._first_all_long = long_share, first_all_long
        self._seed, self._step = seed, 0

    @property
    def step(self) -> int:
        """Number of the step that ``next_batch`` draws next."""
        return self._step

    def is_long(self, step: int) -> bool:
        """Tell whether a step's windows are long; a pure function of seed and step."""
        drawn = numpy_rng(self._seed, "length", step).random()
        return step >= self._first_all_long or drawn < self._long_share

    def draw(self, step: int) -> list[WindowRef]:
        """Return this rank's windows of one step."""
        return (self._long if self.is_long(step) else self._short).draw(step)

    def next_batch(self) -> list[WindowRef]:
        """Draw the next step's windows."""
        refs = self.draw(self._step)
        self._step += 1
        return refs

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, and what it must find unchanged."""
        short, long = self._short.state_dict(), self._long.state_dict()
        return {"step": self._step, "short": short, "long": long}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where another one stopped; other data or settings are refused."""
        self._short.load_state_dict(state["short"])
        self._long.load_state_dict(state["long"])
        self._step = int(state["step"])
