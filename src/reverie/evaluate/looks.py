"""The perceptual bench: what the tokenizer alone makes of looks that its data did not show.

Of the three ways to dream wrong (arXiv 2606.27326) this one needs no dream: an unfamiliar scene is
already another one after Dec(Enc(frame)). Three kinds of looks: the model's own tasks from fresh
seeds, sister tasks of the same simulator that the model was not trained on, and controlled changes
of the very same frames, which exist for every model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from reverie.core.errors import ConfigError, DataError
from reverie.core.registry import unknown_name_message
from reverie.core.seeds import numpy_rng
from reverie.core.types import Episode
from reverie.evaluate.clips import even_starts
from reverie.evaluate.metrics import frame_errors
from reverie.hallucination.predictors import root_mean_square
from reverie.models.api import TokenizerProtocol

SEEN = "seen"
"""Look of the model's own tasks, from seeds that no training uses."""
UNSEEN = "unseen tasks"
"""Look of tasks that the model was not trained on."""
SHOWN_PER_TASK = 3
"""Worst and best frames that are kept of a task under a look, each from another clip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LooksConfig:
    """Which frames are shown to the tokenizer, and how strongly they are changed."""

    num_frames: int = 8
    """Consecutive frames of a clip: tokenizers that remember get something to remember."""
    clips_per_episode: int = 3
    batch_rows: int = 8
    """Clips that are encoded side by side."""
    hue_degrees: float = 90.0
    dimming: float = 0.6
    """Of ``dark``: what is left of the brightness; of ``bright``: of the distance to white."""
    noise_std: float = 0.08
    """In [0, 1] units."""
    block_share: float = 0.3
    """Side of the grey block over the side of the frame."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse clips of nothing."""
        if min(self.num_frames, self.clips_per_episode, self.batch_rows) < 1:
            raise ConfigError(
                f"num_frames, clips_per_episode and batch_rows must be at least 1, got "
                f"{self.num_frames}, {self.clips_per_episode} and {self.batch_rows}."
            )
        if not 0.0 < self.block_share < 1.0:
            raise ConfigError(
                f"block_share is a share of the frame's side, got {self.block_share}. Try 0.3."
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Footage:
    """Short clips of one task, pictures alone."""

    task: str
    frames: UInt8[np.ndarray, "b t h w 3"]
    origin: tuple[tuple[int, int], ...]
    """Seed of each clip's episode and the frame where it begins."""

    def select(self, rows: Sequence[int]) -> "Footage":
        """Keep the given clips, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        origin = tuple(self.origin[row] for row in index.tolist())
        return Footage(task=self.task, frames=self.frames[index], origin=origin)


def cut_footage(episodes: Sequence[Episode], config: LooksConfig) -> Footage:
    """Cut clips at even distances from the episodes of one task.

    Raises:
        DataError: No episode is long enough.
    """
    places = [
        (episode, start)
        for episode in episodes
        for start in even_starts(len(episode.frames) - config.num_frames, config.clips_per_episode)
    ]
    if not places:
        longest = max((len(episode.frames) for episode in episodes), default=0)
        raise DataError(
            f"No episode has {config.num_frames} frames in a row, the longest of {len(episodes)} "
            f"has {longest}. Play longer ones."
        )
    return Footage(
        task=places[0][0].task,
        frames=np.stack([item.frames[start:][: config.num_frames] for item, start in places]),
        origin=tuple((item.seed, start) for item, start in places),
    )


Change = Callable[
    [UInt8[np.ndarray, "t h w 3"], LooksConfig, np.random.Generator], UInt8[np.ndarray, "t h w 3"]
]
"""Changes the look of one clip; what is drawn depends on the clip alone, not on its neighbours."""


def _turn_hue(
    frames: UInt8[np.ndarray, "t h w 3"], config: LooksConfig, rng: np.random.Generator
) -> UInt8[np.ndarray, "t h w 3"]:
    turned: list[np.ndarray] = []
    for frame in frames:
        colours = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
        colours[..., 0] = (colours[..., 0] + config.hue_degrees) % 360
        turned.append(cv2.cvtColor(colours, cv2.COLOR_HSV2RGB))
    return _to_bytes(np.stack(turned))


def _dim(
    frames: UInt8[np.ndarray, "t h w 3"], config: LooksConfig, rng: np.random.Generator
) -> UInt8[np.ndarray, "t h w 3"]:
    return _to_bytes(config.dimming * frames.astype(np.float32) / 255)


def _brighten(
    frames: UInt8[np.ndarray, "t h w 3"], config: LooksConfig, rng: np.random.Generator
) -> UInt8[np.ndarray, "t h w 3"]:
    return _to_bytes(1 - config.dimming * (1 - frames.astype(np.float32) / 255))


def _add_noise(
    frames: UInt8[np.ndarray, "t h w 3"], config: LooksConfig, rng: np.random.Generator
) -> UInt8[np.ndarray, "t h w 3"]:
    noise = rng.normal(0.0, config.noise_std, frames.shape).astype(np.float32)
    return _to_bytes(frames.astype(np.float32) / 255 + noise)


def _cover(
    frames: UInt8[np.ndarray, "t h w 3"], config: LooksConfig, rng: np.random.Generator
) -> UInt8[np.ndarray, "t h w 3"]:
    height, width = frames.shape[1:3]
    sides = [max(1, round(config.block_share * side)) for side in (height, width)]
    top = int(rng.integers(0, height - sides[0] + 1))
    left = int(rng.integers(0, width - sides[1] + 1))
    covered = frames.copy()
    covered[:, top : top + sides[0], left : left + sides[1]] = 128
    return covered


def _mirror(
    frames: UInt8[np.ndarray, "t h w 3"], config: LooksConfig, rng: np.random.Generator
) -> UInt8[np.ndarray, "t h w 3"]:
    return np.ascontiguousarray(frames[:, :, ::-1])


def _to_bytes(frames: Float[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
    return np.clip(np.round(frames * 255), 0, 255).astype(np.uint8)


CHANGES: dict[str, Change] = {
    "hue": _turn_hue,
    "dark": _dim,
    "bright": _brighten,
    "noise": _add_noise,
    "block": _cover,
    "mirrored": _mirror,
}
"""Name of a look to what makes it of any frames."""


def change_look(footage: Footage, look: str, config: LooksConfig) -> Footage:
    """Return the same clips under another look.

    Raises:
        ConfigError: There is no such look.
    """
    if look not in CHANGES:
        hint = f"Looks: {', '.join(CHANGES)}"
        raise ConfigError(unknown_name_message("look", look, tuple(CHANGES), hint))
    changed = [
        CHANGES[look](frames, config, numpy_rng(config.seed, look, footage.task, *origin))
        for frames, origin in zip(footage.frames, footage.origin, strict=True)
    ]
    return Footage(task=footage.task, frames=np.stack(changed), origin=footage.origin)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShownFrame:
    """One frame, and what came back of it."""

    task: str
    real: UInt8[np.ndarray, "h w 3"]
    decoded: UInt8[np.ndarray, "h w 3"]
    error: float
    """Mean squared error."""
    residual: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LookFrames:
    """What the tokenizer made of the frames of one task under one look."""

    task: str
    look: str
    episode: tuple[int, ...]
    """Seed of each clip's episode."""
    errors: Float[np.ndarray, "b t"]
    """Mean squared error of each frame."""
    residual: Float[np.ndarray, "b t"]
    """u_r of each frame: RMS(z − Enc(Dec(z))), in the tokenizer's own units."""
    size: Float[np.ndarray, "b t"]
    """RMS(z): a reading without thought, which u_r has to beat."""
    worst: tuple[ShownFrame, ...]
    """The frames that came back worst, the worst first; best likewise."""
    best: tuple[ShownFrame, ...]


@torch.inference_mode()
def measure_look(
    tokenizer: TokenizerProtocol,
    footage: Footage,
    look: str,
    config: LooksConfig,
    *,
    device: torch.device,
) -> LookFrames:
    """Send clips through a tokenizer and read u_r on the latents of their real frames.

    Args:
        tokenizer: In evaluation mode, on the device.
        footage: Of one task, already as it shall look.
        look: What the look is called.
        config: Clips that are encoded side by side.
        device: Where the tokenizer is.
    """
    decoded, residuals, sizes = [], [], []
    for begin in range(0, len(footage.frames), config.batch_rows):
        given = torch.from_numpy(footage.frames[begin : begin + config.batch_rows]).to(device)
        latents, _ = tokenizer.encode(given)
        shown, _ = tokenizer.decode(latents)
        alone = latents.flatten(0, 1)
        returned = tokenizer.round_trip(alone)
        decoded.append(shown.cpu().numpy())
        residuals.append(_reading(alone - returned, tokenizer.spec.scale, len(given)))
        sizes.append(_reading(alone, tokenizer.spec.scale, len(given)))
    pictures, residual = np.concatenate(decoded), np.concatenate(residuals)
    errors = frame_errors(pictures, footage.frames)
    kept = _extremes(footage, pictures, errors, residual)
    return LookFrames(
        task=footage.task,
        look=look,
        episode=tuple(seed for seed, _ in footage.origin),
        errors=errors,
        residual=residual,
        size=np.concatenate(sizes),
        worst=kept[0],
        best=kept[1],
    )


def _reading(
    latents: Float[Tensor, "r n d"], scale: float, num_rows: int
) -> Float[np.ndarray, "b t"]:
    values = root_mean_square(latents) * scale
    return values.double().cpu().numpy().reshape(num_rows, -1)


def _extremes(
    footage: Footage,
    decoded: UInt8[np.ndarray, "b t h w 3"],
    errors: Float[np.ndarray, "b t"],
    residual: Float[np.ndarray, "b t"],
) -> tuple[tuple[ShownFrame, ...], tuple[ShownFrame, ...]]:
    """Keep the worst and the best frames, one a clip: neighbours look alike."""
    found: list[tuple[ShownFrame, ...]] = []
    for sign in (-1.0, 1.0):
        frame = (sign * errors).argmin(axis=1)
        clips = np.argsort(sign * errors[np.arange(len(errors)), frame], kind="stable")
        found.append(
            tuple(
                ShownFrame(
                    task=footage.task,
                    real=footage.frames[clip, frame[clip]].copy(),
                    decoded=decoded[clip, frame[clip]].copy(),
                    error=float(errors[clip, frame[clip]]),
                    residual=float(residual[clip, frame[clip]]),
                )
                for clip in clips[:SHOWN_PER_TASK]
            )
        )
    return found[0], found[1]
