"""Train and judge a verifier on watched dreams: does a learned gauge see what the others do not?

Its readings of the dreams it learned from would flatter it, so those come from two verifiers that
each saw the other half of the episodes only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from reverie.evaluate.discrimination import auroc, auroc_numbers, spearman_numbers
from reverie.evaluate.watched import GAIN_STEPS, WatchedDreams
from reverie.hallucination.verifier import HISTORY, SIGNAL, Verifier, VerifierConfig
from reverie.hallucination.verifier_training import (
    Transitions,
    VerifierTraining,
    train_verifier,
)
from reverie.models.api import WorldModel

NUM_FOLDS = 2
_ROWS = 16
"""Frames that are decoded and encoded at once."""

OnPart = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainedVerifier:
    """A verifier, and the dreams with its readings."""

    verifier: Verifier
    fit: WatchedDreams
    test: WatchedDreams


def fit_verifier(
    world: WorldModel,
    fit: WatchedDreams,
    test: WatchedDreams,
    training: VerifierTraining,
    *,
    tell: OnPart | None = None,
) -> TrainedVerifier:
    """Train on the dreams of the fit, and read those of both sides.

    Args:
        world: The model that dreamed.
        fit: Dreams to learn from; read by verifiers that did not see their episodes.
        test: Dreams of other episodes.
        training: How long.
        tell: Told what is trained.
    """
    config, data = VerifierConfig.of(world), to_transitions(world, fit)
    signal = np.full(fit.dream.shape, np.nan)
    for fold in range(NUM_FOLDS):
        if tell is not None:
            tell(f"verifier, half {fold + 1} of {NUM_FOLDS}")
        held = fit.episode % NUM_FOLDS == fold
        half = train_verifier(_rows(data, ~held), config, training)
        signal[held] = read_verifier(half, fit.select(np.flatnonzero(held)))
    if tell is not None:
        tell("verifier, whole")
    verifier = train_verifier(data, config, training)
    return TrainedVerifier(
        verifier=verifier,
        fit=_with_signal(fit, signal),
        test=_with_signal(test, read_verifier(verifier, test)),
    )


def _with_signal(dreams: WatchedDreams, signal: Float[np.ndarray, "n t"]) -> WatchedDreams:
    return replace(dreams, signals={**dreams.signals, SIGNAL: signal})


def to_transitions(world: WorldModel, dreams: WatchedDreams) -> Transitions:
    """Take the latents of watched dreams, and pass the real ones through the tokenizer again."""
    names = {task: index for index, task in enumerate(dict.fromkeys(dreams.task))}
    real = torch.from_numpy(dreams.true).float()
    with torch.no_grad():
        flat = real.flatten(0, 1).split(_ROWS)
        passed = torch.cat(
            [world.tokenizer.round_trip(part.to(world.device)).cpu() for part in flat]
        )
    dreamed = torch.from_numpy(dreams.dreamed).float()[:, None]
    twins = torch.from_numpy(dreams.twins).float().transpose(1, 2)
    return Transitions(
        real=real,
        passed=passed.view_as(real),
        dreamed=torch.cat([dreamed, twins], dim=1),
        actions=torch.from_numpy(dreams.actions),
        task=torch.tensor([names[task] for task in dreams.task]),
    )


def _rows(data: Transitions, kept: Bool[np.ndarray, " n"]) -> Transitions:
    index = torch.from_numpy(np.flatnonzero(kept))
    return Transitions(
        real=data.real[index],
        passed=data.passed[index],
        dreamed=data.dreamed[index],
        actions=data.actions[index],
        task=data.task[index],
    )


def read_verifier(verifier: Verifier, dreams: WatchedDreams) -> Float[np.ndarray, "n t"]:
    """Return the logit that each dreamed step is real, from the dream's own past."""
    return _read(verifier, dreams, np.concatenate([_context(dreams), dreams.dreamed], axis=1))


def read_real(verifier: Verifier, dreams: WatchedDreams) -> Float[np.ndarray, "n t"]:
    """Return the logits of what really followed."""
    return _read(verifier, dreams, dreams.true)


def _context(dreams: WatchedDreams) -> Float32[np.ndarray, "n f k d"]:
    return dreams.true[:, : dreams.num_context]


@torch.no_grad()
def _read(
    verifier: Verifier, dreams: WatchedDreams, latents: Float32[np.ndarray, "n f k d"]
) -> Float[np.ndarray, "n t"]:
    whole, actions = torch.from_numpy(latents).float(), torch.from_numpy(dreams.actions)
    columns = [
        verifier(whole[:, max(0, frame - HISTORY) : frame], actions[:, step], whole[:, frame])
        for step, frame in enumerate(range(dreams.num_context, whole.shape[1]))
    ]
    return torch.stack(columns, dim=1).double().numpy()


def judge_verifier(
    verifier: Verifier, dreams: WatchedDreams, readings: Sequence[str] = ("u_r", "u_f", "u_s", "m")
) -> dict[str, Any]:
    """Return how well the verifier tells dreams from reality, and wrong dreams from right ones.

    Args:
        verifier: Trained on other episodes.
        dreams: To judge on; their signals hold the verifier's.
        readings: Published ones, judged beside it, raw and divided by the motion of the step.
    """
    imagined, real = dreams.signals[SIGNAL], read_real(verifier, dreams)
    by_age = {
        f"{age}": auroc(
            np.concatenate([-imagined[:, age - 1], -real[:, age - 1]]),
            np.concatenate([np.ones(dreams.num_rows), np.zeros(dreams.num_rows)]),
        )
        for age in (1, 2, 4, 8, 16, 32)
        if age <= dreams.horizon
    }
    columns = {SIGNAL: -imagined, **{name: dreams.signals[name] for name in readings}}
    moved = np.maximum(dreams.signals["m"], 1e-3)
    columns |= {f"{n}/m": dreams.signals[n] / moved for n in readings if n != "m"}
    return {
        "real_or_imagined_by_age": by_age,
        "divergence": {name: _judge(values, dreams) for name, values in columns.items()},
    }


def _judge(values: Float[np.ndarray, "n t"], dreams: WatchedDreams) -> Mapping[str, float]:
    clips, gains = values[:, :GAIN_STEPS].mean(axis=1), dreams.gains
    shown = np.where(gains.is_static, np.nan, clips)
    found = auroc_numbers(shown, gains.has_diverged, gains.moving_gain, dreams.task)
    ranks = spearman_numbers(shown, gains.moving_gain, dreams.task)
    return {
        "auroc_within": found.within_mean,
        "auroc_pooled": found.pooled,
        "spearman_within": ranks.within_mean,
        "spearman_pooled": ranks.pooled,
    }
