"""What the page says of a dream's future, and whether it was right: the truth runs beside it."""

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from reverie.core.batch import Batch
from reverie.hallucination.heat import round_trip_map
from reverie.hallucination.monitor import Monitor
from reverie.models.api import StepContext, WorldModel
from reverie.serve.protocol import Heat, Outlook, finite_or_none
from reverie.serve.show import Show

TRAILING_STEPS = 4
"""Frames that the comparison with a still picture averages over."""
STEP_OFFSET = 1e-6
"""As in the per-step divergence of the evaluation."""
HEAT_SCALE = 0.25
"""Mean absolute difference, in [0, 1], that is drawn fully hot."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Seen:
    """What was found out about one dreamed frame."""

    outlook: Outlook | None
    """None without a calibration."""
    signals: dict[str, float]
    """Raw readings, where the monitor took them already."""


class Lookout:
    """Watches one dream of the page from its start to the next reseed."""

    def __init__(self, show: Show, context: Batch, state: Any, still: np.ndarray) -> None:
        """Begin with a fresh dream.

        Args:
            show: The model; without a calibration only the truth is compared.
            context: What the dream was started from.
            state: The fresh state; it is forked.
            still: The last real frame as the tokenizer shows it.
        """
        self._still = still
        self._errors: deque[tuple[float, float]] = deque(maxlen=TRAILING_STEPS)
        self._diverged_at: int | None = None
        self._num_steps = 0
        self._monitor: Monitor | None = None
        if show.calibration is not None:
            self._monitor = Monitor.begin(
                show.world,
                context,
                state,
                calibration=show.calibration,
                bank=show.bank,
                verifier=show.verifier,
            )

    def look(
        self,
        world: WorldModel,
        step: StepContext,
        real: UInt8[np.ndarray, "h w 3"],
        dream: UInt8[np.ndarray, "h w 3"],
    ) -> Seen:
        """Judge one dreamed frame, then compare it with the real one."""
        self._num_steps += 1
        self._compare(real, dream)
        if self._monitor is None:
            return Seen(outlook=None, signals={})
        limit = float(self._monitor.limits[0])
        self._monitor, verdict = self._monitor.observe(world, step)
        flagged_at = int(verdict.flagged_at[0]) or None
        outlook = Outlook(
            probability=finite_or_none(float(verdict.probability[0])),
            held=finite_or_none(float(verdict.held[0])),
            threshold=finite_or_none(limit),
            ahead=self._monitor.calibration.ahead,
            flagged_at=flagged_at,
            diverged_at=self._diverged_at,
            lead=_lead(flagged_at, self._diverged_at),
        )
        signals = {name: float(values[0]) for name, values in verdict.signals.items()}
        return Seen(outlook=outlook, signals=signals)

    def _compare(self, real: np.ndarray, dream: np.ndarray) -> None:
        self._errors.append((_mse(real, dream), _mse(real, self._still)))
        wrong, still = np.mean(self._errors, axis=0)
        if self._diverged_at is None and still + STEP_OFFSET <= wrong + STEP_OFFSET:
            self._diverged_at = self._num_steps


def heat_of(world: WorldModel, dream: UInt8[np.ndarray, "h w 3"]) -> Heat:
    """Return where the tokenizer would not paint the dreamed picture as it is."""
    with torch.inference_mode():
        grid = round_trip_map(world, torch.from_numpy(dream)[None].to(world.device))[0]
    hot = (grid / HEAT_SCALE).clamp(0, 1).mul(255).round().to(torch.uint8).cpu()
    return Heat(
        rows=grid.shape[0],
        columns=grid.shape[1],
        values=tuple(int(value) for value in hot.flatten().tolist()),
    )


def _lead(flagged_at: int | None, diverged_at: int | None) -> int | None:
    if flagged_at is None or diverged_at is None:
        return None
    return diverged_at - flagged_at


def _mse(first: np.ndarray, second: np.ndarray) -> float:
    difference = (first.astype(np.float32) - second.astype(np.float32)) / 255.0
    return float(np.mean(np.square(difference)))
