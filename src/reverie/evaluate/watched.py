"""Long dreams of clips under their true actions, with all that a watch sees and the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Float16, Float32, Int64, UInt8

from reverie.core.errors import DataError
from reverie.core.files import atomic_path
from reverie.evaluate.clips import Clips
from reverie.evaluate.metrics import ClipGains, frame_errors, gain_db, step_gains
from reverie.evaluate.reconstruction import Reconstruction
from reverie.evaluate.rollout import ClipNoise, RolloutConfig, fit_config, measure_rollout
from reverie.hallucination.watch import NUM_TWINS, SIGNALS, Watch
from reverie.models.api import StepContext, WorldModel

GAIN_STEPS = 16
"""Dreamed frames of the rollout gain (arXiv 2606.27326), however long the dream is."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WatchedDreams:
    """Dreams of several tasks, one row each: what was seen, and what was true."""

    task: tuple[str, ...]
    episode: Int64[np.ndarray, " n"]
    """Number of the episode inside its task; splits keep episodes together."""
    signals: Mapping[str, Float[np.ndarray, "n t"]]
    dream: Float[np.ndarray, "n t"]
    """Mean squared error of the dream."""
    still: Float[np.ndarray, "n t"]
    decoded_still: Float[np.ndarray, "n t"]
    ceiling: Float[np.ndarray, "n t"]
    actions: Float32[np.ndarray, "n t a"]
    dreamed: Float32[np.ndarray, "n t k d"]
    """Dreamed latents, in model units."""
    twins: Float16[np.ndarray, "n t s k d"]
    """Latents of the dreams beside the dream, the same actions under other noises."""
    true: Float32[np.ndarray, "n f k d"]
    """True latents, the context's first."""

    @property
    def num_rows(self) -> int:
        """Number of dreams."""
        return len(self.task)

    @property
    def horizon(self) -> int:
        """Dreamed frames of each."""
        return self.dream.shape[1]

    @property
    def num_context(self) -> int:
        """Real frames before each dream."""
        return self.true.shape[1] - self.horizon

    @property
    def num_twins(self) -> int:
        """Number of dreams beside each dream."""
        return self.twins.shape[2]

    @property
    def has_diverged(self) -> Bool[np.ndarray, "n t"]:
        """True at steps where the dream is no better than the decoded still."""
        return step_gains(self.dream, self.decoded_still) <= 0.0

    @property
    def gains(self) -> ClipGains:
        """Rollout gains over the first 16 dreamed frames."""
        until = min(GAIN_STEPS, self.horizon)
        return ClipGains.of(
            dream=self.dream[:, :until],
            still=self.still[:, :until],
            decoded_still=self.decoded_still[:, :until],
        )

    def select(self, rows: Sequence[int] | np.ndarray) -> "WatchedDreams":
        """Keep the given rows, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        arrays = {name: getattr(self, name)[index] for name in _ARRAYS}
        return WatchedDreams(
            task=tuple(self.task[row] for row in index.tolist()),
            signals={name: values[index] for name, values in self.signals.items()},
            **arrays,
        )

    def save(self, path: Path) -> None:
        """Write one compressed NumPy file."""
        signals = {f"signal/{name}": values for name, values in self.signals.items()}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, task=np.array(self.task), **arrays, **signals)


_ARRAYS = (
    *("episode", "dream", "still", "decoded_still", "ceiling"),
    *("actions", "dreamed", "twins", "true"),
)


def load_watched(path: Path) -> WatchedDreams:
    """Read what ``WatchedDreams.save`` wrote; nothing is unpickled.

    Raises:
        DataError: The file is missing or is not one of watched dreams.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            signals = {name: file[f"signal/{name}"] for name in SIGNALS}
            arrays = {name: file[name] for name in _ARRAYS}
            return WatchedDreams(
                task=tuple(str(name) for name in file["task"]), signals=signals, **arrays
            )
    except FileNotFoundError as error:
        raise DataError(f"There are no watched dreams at '{path}'. Dream them first.") from error
    except (KeyError, ValueError, EOFError, BadZipFile) as error:
        raise DataError(f"'{path}' holds no watched dreams of this version: {error}.") from error


def join_watched(parts: Sequence[WatchedDreams]) -> WatchedDreams:
    """Put the dreams of several tasks below each other."""
    return WatchedDreams(
        task=tuple(task for part in parts for task in part.task),
        signals={
            name: np.concatenate([part.signals[name] for part in parts])
            for name in parts[0].signals
        },
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS},
    )


@torch.inference_mode()
def watch_clips(
    world: WorldModel,
    clips: Clips,
    reconstruction: Reconstruction,
    config: RolloutConfig,
    *,
    num_twins: int = NUM_TWINS,
) -> WatchedDreams:
    """Dream every clip under its true actions and watch it.

    Args:
        world: The model.
        clips: Of one task, at least ``config.num_frames`` long.
        reconstruction: Of the same clips.
        config: Lengths, noise, rows side by side; its ``readings`` are not used.
        num_twins: Dreams beside each dream.
    """
    config = fit_config(world, clips, config)
    until = config.num_frames
    frames, latents, twins = [], [], []
    signals: dict[str, list[np.ndarray]] = {name: [] for name in SIGNALS}
    for rows, part in clips.parts(config.batch_rows):
        noises = ClipNoise.draw(world, rows, config.context, config.horizon, seed=config.seed)
        context = part.slice_time(0, config.context)
        state = world.start(context, noises.context)
        watch = Watch.begin(world, context, state, num_twins=num_twins)
        shown: list[torch.Tensor] = []
        dreamed: list[torch.Tensor] = []
        beside: list[torch.Tensor] = []
        seen: list[dict[str, torch.Tensor]] = []
        for frame in range(config.context, until):
            action = part.prev_actions[:, frame].to(world.device)
            before = state
            state, prediction = world.step(before, action, noises.steps[frame - config.context])
            step = StepContext(before=before, action=action, prediction=prediction, after=state)
            watch, values = watch.observe(world, step)
            seen.append(values)
            shown.append(watch.picture)
            dreamed.append(prediction.latent)
            beside.append(rearrange(watch.twins.latent, "(b s) k d -> b s k d", s=num_twins))
        frames.append(torch.stack(shown, dim=1).cpu().numpy())
        latents.append(torch.stack(dreamed, dim=1).float().cpu().numpy())
        twins.append(torch.stack(beside, dim=1).half().cpu().numpy())
        for name in SIGNALS:
            columns = torch.stack([values[name] for values in seen], dim=1)
            signals[name].append(columns.double().cpu().numpy())
    rollout = measure_rollout(clips, reconstruction, np.concatenate(frames), context=config.context)
    return WatchedDreams(
        task=(clips.task,) * clips.num_clips,
        episode=np.array(clips.episode, dtype=np.int64),
        signals={name: np.concatenate(values) for name, values in signals.items()},
        dream=rollout.dream,
        still=rollout.still,
        decoded_still=rollout.decoded_still,
        ceiling=rollout.ceiling,
        actions=clips.batch.prev_actions[:, config.context : until].cpu().numpy(),
        dreamed=np.concatenate(latents),
        twins=np.concatenate(twins),
        true=reconstruction.latents[:, :until].float().cpu().numpy(),
    )


@torch.inference_mode()
def true_twin_gains(world: WorldModel, dreams: WatchedDreams) -> Float[np.ndarray, "n s"]:
    """Return the rollout gain that every twin has, by a truth that no gauge may see.

    What the other samples of a dream have tells how much of its own gain is the luck of its noise.
    The tokenizer's error, which a picture of the true latents does not have, is added.
    """
    until = min(GAIN_STEPS, dreams.horizon)
    begin = dreams.num_context
    ceiling = dreams.ceiling[:, :until].mean(axis=1)
    still = dreams.still[:, :until].mean(axis=1)
    gains: list[Float[np.ndarray, " s"]] = []
    for row in range(dreams.num_rows):
        true = _painted(world, dreams.true[row, None, begin : begin + until])
        twins = _painted(world, np.moveaxis(dreams.twins[row, :until], 1, 0))
        errors = frame_errors(twins, np.broadcast_to(true, twins.shape)).mean(axis=1) + ceiling[row]
        gains.append(gain_db(errors, still[row]))
    return np.stack(gains)


def _painted(
    world: WorldModel, latents: Float[np.ndarray, "b t k d"]
) -> UInt8[np.ndarray, "b t h w 3"]:
    values = torch.from_numpy(np.ascontiguousarray(latents, dtype=np.float32))
    return world.tokenizer.decode(values.to(world.device))[0].cpu().numpy()
