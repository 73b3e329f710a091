"""A calibrated watch of running dreams: probability, flag and heat, step by step."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from reverie.core.batch import Batch
from reverie.core.errors import DataError
from reverie.hallucination.calibrate import Calibration
from reverie.hallucination.features import FeatureState, step_features
from reverie.hallucination.novelty import NoveltyBank
from reverie.hallucination.verifier import HISTORY, SIGNAL, Verifier
from reverie.hallucination.watch import Watch
from reverie.models.api import StepContext, WorldModel

NEEDS_BANK = ("knn_global", "knn_local")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Verdict:
    """What a monitor says of the step it just saw; one entry a dream."""

    probability: Float[np.ndarray, " b"]
    """P(diverged within the frames ahead); not-a-number where a reading is undefined."""
    held: Float[np.ndarray, " b"]
    """The largest probability since the last real frame: what the flag looks at."""
    is_flagged: Bool[np.ndarray, " b"]
    flagged_at: Int64[np.ndarray, " b"]
    """Dreamed frames until the first flag; 0 where there was none."""
    signals: Mapping[str, Float[Tensor, " b"]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Monitor:
    """Calibration and memory of some running dreams. A value: ``observe`` returns the next one."""

    calibration: Calibration
    bank: NoveltyBank | None
    watch: Watch
    tasks: tuple[str, ...]
    limits: Float[np.ndarray, " b"]
    """Threshold of each dream; infinity never flags."""
    verifier: Verifier | None = None
    past: Float[Tensor, "b t n d"] | None = None
    """Latents before the next step, for the verifier."""
    features: FeatureState = field(default_factory=FeatureState)
    held: Float[np.ndarray, " b"] | None = None
    flagged_at: Int64[np.ndarray, " b"] | None = None

    @classmethod
    def begin(
        cls,
        world: WorldModel,
        context: Batch,
        state: Any,
        *,
        calibration: Calibration,
        bank: NoveltyBank | None = None,
        verifier: Verifier | None = None,
        alpha: float = 0.05,
    ) -> "Monitor":
        """Begin to watch dreams that start now.

        Args:
            world: The model that the calibration was fitted for.
            context: What ``world.start`` was given.
            state: What it returned, not stepped yet; it is forked.
            calibration: See ``load_calibration``, which refuses those of other models.
            bank: Known frames, where the calibration looks at novelty.
            verifier: Of the model, where the calibration looks at it.
            alpha: False-alarm rate of the flag.

        Raises:
            DataError: The calibration needs a bank or a verifier, and there is none.
        """
        if bank is None and any(name in calibration.channels for name in NEEDS_BANK):
            raise DataError(
                "This calibration looks at the distance to known frames, and the model has no "
                "bank of them. Fit both again: reverie calibrate MODEL"
            )
        if verifier is None and SIGNAL in calibration.channels:
            raise DataError(
                "This calibration looks at a verifier, and the model has none. Fit both again: "
                "reverie calibrate MODEL --verifier"
            )
        watch = Watch.begin(world, context, state, num_twins=calibration.num_twins)
        values = [calibration.threshold(task, alpha).value for task in state.task]
        return cls(
            calibration=calibration,
            bank=bank,
            watch=watch,
            verifier=verifier,
            past=watch.context[:, -HISTORY:],
            tasks=tuple(state.task),
            limits=np.array([np.inf if value is None else value for value in values]),
        )

    def observe(self, world: WorldModel, step: StepContext) -> tuple["Monitor", Verdict]:
        """Take in one dreamed step; neither the dream nor its later steps change."""
        watch, signals = self.watch.observe(world, step)
        if self.bank is not None:
            signals = {
                **signals,
                **self.bank.distances(step.prediction.latent, step.action, self.tasks),
            }
        past = self.past
        if self.verifier is not None and past is not None:
            latent = step.prediction.latent
            signals = {**signals, SIGNAL: self.verifier(past, step.action, latent)}
            past = torch.cat([past, latent[:, None]], dim=1)[:, -HISTORY:]
        exact = {name: values.double().cpu() for name, values in signals.items()}
        state, features = step_features(self.features, exact, self.calibration.channels)
        probability = self.calibration.probability(features.numpy(), self.tasks)
        # What is undefined counts as certain: never green by accident.
        known = np.where(np.isnan(probability), 1.0, probability)
        held = known if self.held is None else np.maximum(self.held, known)
        is_flagged = (held > self.limits) | np.isnan(probability)
        before = np.zeros(len(held), np.int64) if self.flagged_at is None else self.flagged_at
        flagged_at = np.where((before == 0) & is_flagged, watch.num_steps, before)
        after = replace(
            self, watch=watch, features=state, held=held, flagged_at=flagged_at, past=past
        )
        verdict = Verdict(
            probability=probability,
            held=held,
            is_flagged=flagged_at > 0,
            flagged_at=flagged_at,
            signals=signals,
        )
        return after, verdict
