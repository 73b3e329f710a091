"""Is an action safe to execute? Readings against what is usual for real play, as one confidence.

The confidence of a step is the smallest, over its readings, of the share of real moments whose
reading was at least as large: near 1 nothing stands out, near 0 something never happened in real
play. The threshold is set so that a stated share of real moments falls below it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from reverie.core.config import to_dict
from reverie.core.errors import CheckpointError, ConfigError, DataError
from reverie.core.files import write_sealed
from reverie.hallucination.fits import read_fit
from reverie.hallucination.foresight import READINGS, ForesightConfig
from reverie.models.load import model_digest

FILE_NAME = "acceptance.json"
FORMAT_VERSION = 1
MIN_MOMENTS = 50
"""Real moments below which quantiles near the edge mean nothing."""
_GRID = 200
_TAIL = 1 / _GRID
"""Share that is left for values above the largest one seen."""
_REMEDY = "Fit it with: reverie serve fit MODEL STORE"


@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """What is usual for real play, per task, for one model."""

    format_version: int
    model: str
    """Digest of the model that it was fitted for."""
    precision: str
    foresight: ForesightConfig
    """How far and with how many samples the readings were taken."""
    alpha: float
    """Share of real moments that fall below the threshold."""
    thresholds: dict[str, float]
    """Task to the confidence below which an action is refused."""
    quantiles: dict[str, dict[str, tuple[float, ...]]]
    """Task to reading to its quantiles over real moments, from the smallest to the largest."""
    num_moments: dict[str, int]

    def confidence(self, task: str, readings: Mapping[str, float]) -> float | None:
        """Return how usual the most unusual reading is; None for a task without a fit.

        A reading that is not a number counts as never seen, unless real play had none either.

        Args:
            task: Whose real play to compare with.
            readings: Name to value; a name that was not fitted is left out.
        """
        usual = self.quantiles.get(task)
        if usual is None:
            return None
        shares = [
            _share_above(usual[name], value) for name, value in readings.items() if name in usual
        ]
        return min(shares, default=0.0)

    def threshold(self, task: str) -> float | None:
        """Return the confidence below which an action is refused; None without a fit."""
        return self.thresholds.get(task)

    def save(self, folder: Path) -> Path:
        """Write ``acceptance.json`` into the model's folder."""
        path = folder / FILE_NAME
        write_sealed(path, to_dict(self))
        return path


def fit_acceptance(
    moments: Mapping[str, Mapping[str, Float[np.ndarray, " n"]]],
    *,
    model: str,
    precision: str,
    foresight: ForesightConfig,
    alpha: float = 0.02,
) -> Acceptance:
    """Fit to readings of real moments: one half gives the quantiles, the other the threshold.

    Args:
        moments: Task to reading to its value at every moment. A reading that is never a number is
            left out.
        model: Digest of the model, see ``models.load.model_digest``.
        precision: What the model computed in.
        foresight: How the readings were taken.
        alpha: Share of real moments that may be refused.

    Raises:
        DataError: A task has too few moments.
    """
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha is a share between 0 and 1, got {alpha}. Try 0.02.")
    quantiles: dict[str, dict[str, tuple[float, ...]]] = {}
    thresholds: dict[str, float] = {}
    counts: dict[str, int] = {}
    for task, readings in moments.items():
        count = len(next(iter(readings.values())))
        if count < MIN_MOMENTS:
            raise DataError(
                f"'{task}' has {count} real moments, at least {MIN_MOMENTS} are needed to say "
                f"what is usual. Collect more episodes."
            )
        quantiles[task] = _quantiles(readings)
        thresholds[task] = _threshold(quantiles[task], readings, alpha)
        counts[task] = count
    return Acceptance(
        format_version=FORMAT_VERSION,
        model=model,
        precision=precision,
        foresight=foresight,
        alpha=alpha,
        thresholds=thresholds,
        quantiles=quantiles,
        num_moments=counts,
    )


def load_acceptance(folder: Path) -> Acceptance:
    """Read what is usual for a model.

    Raises:
        DataError: There is none, or it cannot be read.
        CheckpointError: It was fitted for another model.
    """
    path = folder / FILE_NAME
    found = read_fit(
        Acceptance,
        path,
        missing="record of what is usual in real play",
        remedy=_REMEDY,
        version=FORMAT_VERSION,
    )
    if found.model != model_digest(folder):
        raise CheckpointError(
            f"'{path}' was fitted for other weights than those beside it, and does not carry "
            f"over. {_REMEDY}"
        )
    return found


def _quantiles(
    readings: Mapping[str, Float[np.ndarray, " n"]],
) -> dict[str, tuple[float, ...]]:
    found: dict[str, tuple[float, ...]] = {}
    for name, values in readings.items():
        if name not in READINGS:
            raise ConfigError(f"Unknown reading '{name}'. There are: {', '.join(READINGS)}.")
        half = values[::2]
        finite = half[np.isfinite(half)]
        if finite.size:
            grid = np.quantile(finite, np.linspace(0, 1, _GRID + 1))
            found[name] = tuple(float(value) for value in grid)
    return found


def _threshold(
    usual: Mapping[str, tuple[float, ...]],
    readings: Mapping[str, Float[np.ndarray, " n"]],
    alpha: float,
) -> float:
    shares = [
        [_share_above(usual[name], float(value)) for value in values[1::2]]
        for name, values in readings.items()
        if name in usual
    ]
    return float(np.quantile(np.min(np.array(shares), axis=0), alpha))


def _share_above(grid: tuple[float, ...], value: float) -> float:
    if np.isnan(value):
        return 0.0
    if value > grid[-1]:
        # Never seen, but not all equally: the share goes on falling, so that a threshold can lie
        # beyond the largest real value.
        spread = max(grid[-1] - grid[len(grid) // 2], 1e-12)
        return float(_TAIL * np.exp(-(value - grid[-1]) / spread))
    below = np.interp(value, grid, np.linspace(0, 1, len(grid)), left=0.0)
    return float(1.0 - (1.0 - _TAIL) * below)
