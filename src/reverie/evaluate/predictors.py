"""How well each reading predicts that a dream goes wrong, beside the baselines it must beat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from reverie.evaluate.discrimination import (
    MIN_CLIPS,
    FiveNumbers,
    auroc,
    auroc_numbers,
    spearman_numbers,
)
from reverie.evaluate.metrics import ClipGains, step_gains
from reverie.evaluate.rollout import Rollout
from reverie.hallucination import normalise

PREDICTORS = ("u_r", "u_f", "u_s")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TaskReadings:
    """What one task adds to the comparison."""

    rollout: Rollout
    gains: ClipGains
    motion: float
    """Mean motion of real data of the task."""
    ignored: float
    """1 if the action-shuffle ratio of the task is up to 1.1, 0 if above, NaN if undefined."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictorScore:
    """One reading against the three outcomes."""

    name: str
    gain: FiveNumbers
    """Spearman with the rollout gain."""
    diverged: FiveNumbers
    """AUROC for clips that diverged."""
    diverged_step: float
    """Pooled AUROC for single steps that diverged."""
    ignored: float
    """Pooled AUROC for clips of tasks whose actions are ignored."""


def clip_readings(task: TaskReadings) -> dict[str, Float[np.ndarray, " clips"]]:
    """Return every reading and baseline of each clip: means over its steps, NaN if static."""
    steps = step_readings(task)
    clips = {name: values.mean(axis=1) for name, values in steps.items() if name != "step"}
    raw = {name: torch.from_numpy(values) for name, values in task.rollout.readings.items()}
    for name in _present(raw):
        clips[f"{name}/clip"] = normalise.per_clip(raw[name], raw["m"]).numpy()
    return {name: np.where(task.gains.is_static, np.nan, x) for name, x in clips.items()}


def step_readings(task: TaskReadings) -> dict[str, Float[np.ndarray, "clips t"]]:
    """Return every reading and baseline of each dreamed step."""
    raw = {name: torch.from_numpy(values) for name, values in task.rollout.readings.items()}
    moved = raw["m"]
    of_task = torch.full_like(moved, task.motion)
    found: dict[str, torch.Tensor] = {}
    for name in _present(raw):
        found[name] = raw[name]
        found[f"{name}/step"] = normalise.per_step(raw[name], moved)
        found[f"{name}/running"] = normalise.running(raw[name], moved)
        found[f"{name}/task"] = normalise.per_task(raw[name], of_task)
        found[f"{name}/floored"] = normalise.floored(raw[name], moved, of_task)
    found["m"] = moved
    found["1/m"] = 1.0 / moved.clamp(min=normalise.MIN_STEP_MOTION)
    values = {name: readings.numpy() for name, readings in found.items()}
    values["step"] = np.broadcast_to(np.arange(1.0, moved.shape[1] + 1), moved.shape)
    return values


def compare_predictors(
    tasks: Sequence[TaskReadings], min_clips: int = MIN_CLIPS
) -> tuple[PredictorScore, ...]:
    """Score every reading and baseline over the clips of all tasks.

    The kNN distance and the number of training frames, which the paper compares with, need the
    training data and are not measured here.

    Args:
        tasks: One entry a task.
        min_clips: Fewest clips that give a task its own number.
    """
    names = [task.rollout.task for task in tasks for _ in task.gains.gain]
    clips = _joined([clip_readings(task) for task in tasks])
    steps = _joined([step_readings(task) for task in tasks])
    gains = np.concatenate([task.gains.moving_gain for task in tasks])
    diverged = np.concatenate([task.gains.has_diverged for task in tasks])
    ignored = np.concatenate([np.full(len(task.gains.gain), task.ignored) for task in tasks])
    diverged_step = np.concatenate([_diverged_steps(task.rollout).reshape(-1) for task in tasks])
    nothing = np.full(len(gains), np.nan)
    return tuple(
        PredictorScore(
            name=name,
            gain=spearman_numbers(clips.get(name, nothing), gains, names, min_clips),
            diverged=auroc_numbers(clips.get(name, nothing), diverged, gains, names, min_clips),
            diverged_step=auroc(steps[name].reshape(-1), diverged_step)
            if name in steps
            else float("nan"),
            ignored=auroc(clips.get(name, nothing), ignored),
        )
        for name in dict.fromkeys([*clips, *steps])
    )


def _diverged_steps(rollout: Rollout) -> np.ndarray:
    return step_gains(rollout.dream, rollout.decoded_still) <= 0.0


def _present(raw: Mapping[str, torch.Tensor]) -> list[str]:
    return [name for name in PREDICTORS if name in raw]


def _joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
