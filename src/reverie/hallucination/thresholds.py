"""Absolute limits of readings per task, fitted on other episodes than the one being judged.

A limit relative to a dream's own first steps calls a dream that is wrong from the start green; so
limits come from held-out dreams of the same task and travel with the model they were fitted for.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from reverie.core.config import to_dict
from reverie.core.files import write_sealed
from reverie.hallucination.fits import check_setup, commit_signal, read_fit
from reverie.hallucination.predictors import NUM_SEEDS
from reverie.models.api import WorldModel
from reverie.models.load import model_digest

Level = Literal["green", "yellow", "red"]

FILE_NAME = "readings.json"
YELLOW_QUANTILE = 0.90
"""One step in ten of a dream that has not diverged is above it."""
RED_QUANTILE = 0.975
"""One step in forty of a dream that has not diverged is above it."""
MIN_GOOD_STEPS = 40
"""With fewer steps that have not diverged, the 97.5 % quantile would be the largest one."""
_REMEDY = "Fit them with: reverie evaluate MODEL --fit-thresholds"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingSetup:
    """What readings depend on besides the task; limits of another set-up do not carry over."""

    checkpoint: str
    """Digest of the model's weights and config; see ``models.load.model_digest``."""
    num_flow_steps: int
    commit_signal: float
    """Signal at which frames enter the cache."""
    num_seeds: int
    normaliser: Literal["step", "task", "floored"] = "floored"
    """What the readings that the limits judge are divided by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """Above ``yellow`` a reading is unusual for a good dream of the task, above ``red`` rare."""

    yellow: float
    red: float

    def level(self, reading: float) -> Level:
        """Return the colour of a reading; one that is not a number is red, never green."""
        if math.isnan(reading) or reading > self.red:
            return "red"
        return "yellow" if reading > self.yellow else "green"


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskThresholds:
    """Limits of one task, and what they were fitted on."""

    motion: float
    """Mean motion of real data, in the tokenizer's own units; what the normaliser divides by."""
    limits: dict[str, Limit]
    """Raw predictor name to the limit of its **normalised** reading."""
    num_steps: int
    """Dreamed steps that the quantiles were taken over."""
    uses_diverged: bool
    """True if too few steps had not diverged, so that all were taken: the limits are too high."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """All limits of one model."""

    setup: ReadingSetup
    tasks: dict[str, TaskThresholds]

    @property
    def motion(self) -> dict[str, float]:
        """Mean motion of real data per task."""
        return {name: task.motion for name, task in self.tasks.items()}

    def limit(self, task: str, predictor: str) -> Limit | None:
        """Return the limit of one predictor in one task, None where none was fitted."""
        found = self.tasks.get(task)
        return None if found is None else found.limits.get(predictor)

    def level(self, task: str, predictor: str, reading: float) -> Level | None:
        """Return the colour of a normalised reading, None where there is no limit."""
        limit = self.limit(task, predictor)
        return None if limit is None else limit.level(reading)

    def save(self, folder: Path) -> Path:
        """Write ``readings.json`` into the model's folder."""
        path = folder / FILE_NAME
        write_sealed(path, to_dict(self))
        return path


def fit_task(
    readings: Mapping[str, Float[np.ndarray, "b t"]],
    diverged: Bool[np.ndarray, "b t"],
    *,
    motion: float,
) -> TaskThresholds:
    """Fit the limits of one task to dreamed steps of held-out episodes.

    Quantiles are taken over steps that have not diverged; where there are fewer than
    ``MIN_GOOD_STEPS`` of them, over all steps, and the result says so. A predictor without any
    finite reading (u_f of a model with one substep) gets no limit.

    Args:
        readings: Predictor name to normalised readings of each clip and step.
        diverged: True where a dream was no better than its repeated first frame.
        motion: Mean motion of real data of the task.
    """
    good = ~diverged
    uses_diverged = int(good.sum()) < MIN_GOOD_STEPS
    taken = np.ones_like(good) if uses_diverged else good
    limits = {}
    for name, values in readings.items():
        finite = values[taken & np.isfinite(values)]
        if finite.size:
            yellow, red = np.quantile(finite, (YELLOW_QUANTILE, RED_QUANTILE))
            limits[name] = Limit(yellow=float(yellow), red=float(red))
    return TaskThresholds(
        motion=motion,
        limits=limits,
        num_steps=int(taken.sum()),
        uses_diverged=uses_diverged,
    )


def load_thresholds(folder: Path, expected: ReadingSetup) -> Thresholds:
    """Read a model's limits and check that they were fitted for it as it runs now.

    Raises:
        DataError: There are none, or the file cannot be read.
        CheckpointError: They were fitted for other weights, substeps, noise or seeds.
    """
    path = folder / FILE_NAME
    thresholds = read_fit(Thresholds, path, missing="limits for readings", remedy=_REMEDY)
    check_setup(path, thresholds.setup, expected, what="Limits", remedy=_REMEDY)
    return thresholds


def reading_setup(folder: Path, world: WorldModel) -> ReadingSetup:
    """Describe what the readings of a model depend on, as it would run now."""
    return ReadingSetup(
        checkpoint=model_digest(folder),
        num_flow_steps=world.num_flow_steps,
        commit_signal=commit_signal(world),
        num_seeds=NUM_SEEDS,
    )
