"""Dreams of held-out clips under their true actions, with the readings of every step."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from reverie.core.batch import Batch
from reverie.core.errors import ConfigError
from reverie.core.seeds import child_seed
from reverie.evaluate.clips import Clips
from reverie.evaluate.metrics import frame_errors
from reverie.evaluate.reconstruction import Reconstruction
from reverie.hallucination.gauges import ReadingSet, page_readings
from reverie.models.api import Noise, StepContext, WorldModel

RAW_READINGS = ("u_r", "u_f", "u_s", "m")
WARM_UP_FRAMES = 3
"""First frames of a speed measurement, not counted."""
TIMED_FRAMES = 8
"""Frames of a speed measurement whose median time counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutConfig:
    """How clips are dreamed."""

    context: int = 8
    """Real frames before the dream; cut to what the model uses."""
    horizon: int = 16
    """Dreamed frames (both as in arXiv 2606.27326)."""
    seed: int = 0
    """Root of all noises; each clip has its own, whatever batch it is dreamed in."""
    batch_rows: int = 32
    """Clips dreamed side by side."""
    readings: tuple[str, ...] = RAW_READINGS
    """Gauges that are read at every step; empty reads none and is faster."""

    def __post_init__(self) -> None:
        """Refuse empty contexts and horizons."""
        if self.context < 1 or self.horizon < 1 or self.batch_rows < 1:
            raise ConfigError(
                f"context, horizon and batch_rows must be at least 1, got {self.context}, "
                f"{self.horizon}, {self.batch_rows}."
            )

    @property
    def num_frames(self) -> int:
        """Frames that a clip must have."""
        return self.context + self.horizon


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rollout:
    """Dreams of the clips of one task, and their errors per dreamed frame."""

    task: str
    frames: UInt8[np.ndarray, "b t h w 3"]
    """Dreamed frames only."""
    dream: Float[np.ndarray, "b t"]
    """Mean squared error of the dream."""
    still: Float[np.ndarray, "b t"]
    """Of the last context frame repeated."""
    decoded_still: Float[np.ndarray, "b t"]
    """Of the last context frame encoded, decoded and repeated."""
    ceiling: Float[np.ndarray, "b t"]
    """Of the true frame encoded and decoded."""
    readings: Mapping[str, Float[np.ndarray, "b t"]]
    latents: Float[np.ndarray, "b t n d"] | None = None
    """Dreamed latents in model units; None where only frames are compared."""


@torch.inference_mode()
def dream_clips(
    world: WorldModel, clips: Clips, reconstruction: Reconstruction, config: RolloutConfig
) -> Rollout:
    """Dream every clip from its first frames under its true actions.

    Args:
        world: The model.
        clips: At least ``config.num_frames`` long.
        reconstruction: Of the same clips.
        config: Lengths, noise, readings.
    """
    config = fit_config(world, clips, config)
    frames, readings, latents = [], [], []
    for rows, part in clips.parts(config.batch_rows):
        shown, read, dreamed = _dream_part(world, part, rows, config)
        frames.append(shown)
        readings.append(read)
        latents.append(dreamed)
    rollout = measure_rollout(
        clips,
        reconstruction,
        np.concatenate(frames),
        context=config.context,
        readings={
            name: np.concatenate([read[name] for read in readings]) for name in config.readings
        },
    )
    return replace(rollout, latents=np.concatenate(latents))


def fit_config(world: WorldModel, clips: Clips, config: RolloutConfig) -> RolloutConfig:
    """Cut the context to what the model uses; refuse clips that are too short."""
    config = replace(config, context=min(config.context, world.max_context))
    if clips.num_frames < config.num_frames:
        raise ConfigError(
            f"A rollout of {config.context} + {config.horizon} frames needs clips of "
            f"{config.num_frames}, got {clips.num_frames}. Cut longer clips or dream less far."
        )
    return config


def measure_rollout(
    clips: Clips,
    reconstruction: Reconstruction,
    dreamed: UInt8[np.ndarray, "b t h w 3"],
    *,
    context: int,
    readings: Mapping[str, Float[np.ndarray, "b t"]] | None = None,
) -> Rollout:
    """Compare dreamed frames, which begin after ``context`` real ones, with the truth."""
    until = context + dreamed.shape[1]
    pictures = clips.pictures()
    truth = pictures[:, context:until]
    stills = [
        np.broadcast_to(frames[:, context - 1 : context], truth.shape)
        for frames in (pictures, reconstruction.frames)
    ]
    return Rollout(
        task=clips.task,
        frames=dreamed,
        dream=frame_errors(dreamed, truth),
        still=frame_errors(stills[0], truth),
        decoded_still=frame_errors(stills[1], truth),
        ceiling=reconstruction.errors[:, context:until],
        readings=readings or {},
    )


def _dream_part(
    world: WorldModel, part: Batch, rows: Sequence[int], config: RolloutConfig
) -> tuple[
    UInt8[np.ndarray, "b t h w 3"],
    dict[str, Float[np.ndarray, "b t"]],
    Float[np.ndarray, "b t n d"],
]:
    until = config.context + config.horizon
    noises = ClipNoise.draw(world, rows, config.context, config.horizon, seed=config.seed)
    state = world.start(part.slice_time(0, config.context), noises.context)
    reading_set = ReadingSet(names=config.readings)
    frames: list[Tensor] = []
    latents: list[Tensor] = []
    taken: dict[str, list[Tensor]] = {name: [] for name in config.readings}
    for frame in range(config.context, until):
        action = part.prev_actions[:, frame].to(world.device)
        before = state
        state, prediction = world.step(before, action, noises.steps[frame - config.context])
        frames.append(world.decode(state))
        latents.append(prediction.latent)
        if config.readings:
            step = StepContext(before=before, action=action, prediction=prediction, after=state)
            for name, values in reading_set.take(world, step).items():
                taken[name].append(values)
    stacked = {
        name: torch.stack(values, dim=1).double().cpu().numpy() for name, values in taken.items()
    }
    dreamed = torch.stack(latents, dim=1).float().cpu().numpy()
    return torch.stack(frames, dim=1).cpu().numpy(), stacked, dreamed


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClipNoise:
    """All noise of some clips: of the context, and of each dreamed frame."""

    context: Float[Tensor, "b t n d"]
    steps: tuple[Noise, ...]

    @classmethod
    def draw(
        cls, world: WorldModel, rows: Sequence[int], context: int, horizon: int, *, seed: int
    ) -> "ClipNoise":
        """Draw noise that depends on the clip's number and the seed alone, not on the batch."""
        contexts: list[Tensor] = []
        steps: list[Noise] = []
        for row in rows:
            rng = torch.Generator(device=world.device)
            rng.manual_seed(child_seed(seed, "clip", row))
            contexts.append(world.draw_context_noise(1, context, rng))
            steps.append(world.draw_noise(horizon, rng))
        return cls(
            context=torch.cat(contexts),
            steps=tuple(
                Noise(
                    start=torch.stack([drawn.start[step] for drawn in steps]),
                    commit=torch.stack([drawn.commit[step] for drawn in steps]),
                )
                for step in range(horizon)
            ),
        )


@torch.inference_mode()
def measure_fps(world: WorldModel, clips: Clips, config: RolloutConfig) -> float:
    """Return dreamed frames per second of one dream, decoded, with the page's readings on.

    The first frames are a warm-up; the median time of the others counts.
    """
    config = fit_config(world, clips, config)
    row = clips.batch.select([0])
    noises = ClipNoise.draw(world, [0], config.context, config.horizon, seed=config.seed)
    readings = page_readings({clips.task: 1.0})
    state = world.start(row.slice_time(0, config.context), noises.context)
    durations_s: list[float] = []
    for index, noise in enumerate(noises.steps[: WARM_UP_FRAMES + TIMED_FRAMES]):
        action = row.prev_actions[:, config.context + index].to(world.device)
        begun_s = time.perf_counter()
        before = state
        state, prediction = world.step(before, action, noise)
        world.decode(state).cpu()
        step = StepContext(before=before, action=action, prediction=prediction, after=state)
        for values in readings.take(world, step).values():
            values.cpu()
        durations_s.append(time.perf_counter() - begun_s)
    counted = durations_s[WARM_UP_FRAMES:] or durations_s
    return 1.0 / float(np.median(counted))
