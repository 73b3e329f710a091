"""Tokenizers side by side on the same videos: what they keep, how many numbers it takes, how fast.

The published comparison is table 3 of arXiv 2606.27326.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from reverie.core.errors import DataError
from reverie.core.types import Episode
from reverie.evaluate.metrics import frame_errors, psnr
from reverie.models.api import TokenizerProtocol
from reverie.models.perceptual import PerceptualTerm
from reverie.parallel.memory import wait_for

VIDEO_FRAMES = 17
"""1 + 16: whole latents for tokenizers of 4 and of 8 frames a latent."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TokenizerClip:
    """What became of the videos of one task."""

    task: str
    domain: str
    errors: Float[np.ndarray, "b t"]
    """Mean squared error of each frame of whole videos."""
    single_errors: Float[np.ndarray, "b t"]
    """The same with every frame as a video of its own."""
    lpips: float | None
    encode_s: float
    decode_s: float
    """Seconds for one pass over all videos of the task, one video at a time."""


def cut_videos(
    episodes: Sequence[Episode], *, num_frames: int = VIDEO_FRAMES, num_videos: int
) -> UInt8[Tensor, "b t h w 3"]:
    """Cut videos at even distances from the episodes of one task, one a place.

    Raises:
        DataError: No episode is long enough.
    """
    places = [
        (episode, start)
        for episode in episodes
        for start in range(0, len(episode.frames) - num_frames + 1, num_frames)
    ]
    if not places:
        raise DataError(
            f"No episode of '{episodes[0].task}' has {num_frames} frames. Collect longer ones, or "
            f"ask for shorter videos with --num-frames."
        )
    chosen = sorted({round(at) for at in np.linspace(0, len(places) - 1, num_videos)})
    return torch.from_numpy(
        np.stack([places[at][0].frames[places[at][1] :][:num_frames] for at in chosen])
    )


@torch.inference_mode()
def measure_tokenizer(
    tokenizer: TokenizerProtocol,
    videos: UInt8[Tensor, "b t h w 3"],
    *,
    task: str,
    domain: str,
    device: torch.device,
    lpips: PerceptualTerm | None = None,
) -> TokenizerClip:
    """Send the videos of one task through a tokenizer, whole and frame by frame.

    Args:
        tokenizer: In evaluation mode, on the device.
        videos: Of the tokenizer's size; their frames must be whole latents.
        task: Their task.
        domain: Its domain.
        device: Where the tokenizer is.
        lpips: LPIPS itself, or None where its weights are not at hand.
    """
    step = tokenizer.spec.frames_per_latent
    if (videos.shape[1] - 1) % step:
        raise DataError(
            f"Videos of {videos.shape[1]} frames are not whole latents of {step} frames. Use "
            f"--num-frames {1 + step * max(1, round((videos.shape[1] - 1) / step))}."
        )
    shown, single, clock = [], [], {"encode": 0.0, "decode": 0.0}
    warm = videos[:1].to(device)
    tokenizer.decode(tokenizer.encode(warm)[0])
    for video in videos.split(1):
        given = video.to(device)
        with _timed(clock, "encode", device):
            latents, _ = tokenizer.encode(given)
        with _timed(clock, "decode", device):
            whole, _ = tokenizer.decode(latents)
        alone, _ = tokenizer.decode(tokenizer.encode(given[0, :, None])[0])
        shown.append(whole.cpu())
        single.append(alone[None, :, 0].cpu())
    painted = torch.cat(shown)
    return TokenizerClip(
        task=task,
        domain=domain,
        errors=frame_errors(painted.numpy(), videos.numpy()),
        single_errors=frame_errors(torch.cat(single).numpy(), videos.numpy()),
        lpips=None if lpips is None else _lpips(lpips, painted, videos, device),
        encode_s=clock["encode"],
        decode_s=clock["decode"],
    )


def summarise(
    tokenizer: TokenizerProtocol, clips: Sequence[TokenizerClip], *, num_parameters: int
) -> dict[str, Any]:
    """Turn what was measured of one tokenizer into plain numbers.

    PSNR is that of the pooled error of a task; domains and the whole are means over tasks.
    """
    spec, size = tokenizer.spec, tokenizer.frame_spec
    num_frames = sum(clip.errors.size for clip in clips)
    domains = sorted({clip.domain for clip in clips})
    return {
        "height_px": size.height_px,
        "width_px": size.width_px,
        "num_parameters": num_parameters,
        "frames_per_latent": spec.frames_per_latent,
        "numbers_per_frame": spec.numbers_per_frame,
        "numbers_per_single_frame": spec.num_tokens * spec.num_channels,
        "encode_fps": num_frames / sum(clip.encode_s for clip in clips),
        "decode_fps": num_frames / sum(clip.decode_s for clip in clips),
        **_qualities(clips),
        "domains": {
            name: _qualities([clip for clip in clips if clip.domain == name]) for name in domains
        },
        "tasks": {clip.task: _qualities([clip]) for clip in clips},
    }


def _qualities(clips: Sequence[TokenizerClip]) -> dict[str, Any]:
    videos = np.concatenate([psnr(clip.errors.mean(axis=1)) for clip in clips])
    low, high = np.percentile(videos, (25, 75))
    known = [clip.lpips for clip in clips if clip.lpips is not None]
    return {
        "psnr_db": float(np.mean([psnr(clip.errors.mean()) for clip in clips])),
        "psnr_db_quartiles_of_videos": [float(low), float(high)],
        "single_frame_psnr_db": float(np.mean([psnr(clip.single_errors.mean()) for clip in clips])),
        "lpips": float(np.mean(known)) if known else "not measured",
        "num_videos": len(videos),
    }


def _lpips(
    term: PerceptualTerm,
    painted: UInt8[Tensor, "b t h w 3"],
    truth: UInt8[Tensor, "b t h w 3"],
    device: torch.device,
) -> float:
    found: list[float] = []
    for pair in zip(painted, truth, strict=True):
        first, second = (x.to(device).permute(0, 3, 1, 2).float() / 255 for x in pair)
        found.append(float(term.distance(first, second).mean()))
    return float(np.mean(found))


@contextmanager
def _timed(clock: dict[str, float], name: str, device: torch.device) -> Iterator[None]:
    wait_for(device)
    begun = time.perf_counter()
    yield
    wait_for(device)
    clock[name] += time.perf_counter() - begun


def table(rows: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Write the comparison as cells: the titles, then one row a tokenizer; a column a domain."""
    domains = sorted({name for row in rows.values() for name in row["domains"]})
    lines = [["tokenizer", *_COLUMNS, *domains]]
    for name, row in rows.items():
        cells = [write(row) for write in _COLUMNS.values()]
        cells += [_number(row["domains"].get(domain, {}).get("psnr_db")) for domain in domains]
        lines.append([name, *cells])
    return lines


def markdown(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the comparison as a Markdown table."""
    titles, *lines = (f"| {' | '.join(cells)} |" for cells in table(rows))
    return "\n".join([titles, "|---" * len(table(rows)[0]) + "|", *lines])


def _number(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value or "–")


Writer = Callable[[Mapping[str, Any]], str]
_COLUMNS: dict[str, Writer] = {
    "size": lambda row: f"{row['height_px']}x{row['width_px']}",
    "M params": lambda row: f"{row['num_parameters'] / 1e6:.2f}",
    "numbers": lambda row: f"{row['numbers_per_frame']:,.0f}",
    "PSNR dB": lambda row: _number(row["psnr_db"]),
    "alone dB": lambda row: _number(row["single_frame_psnr_db"]),
    "LPIPS": lambda row: _number(row["lpips"]).replace("not measured", "–"),
    "enc fps": lambda row: f"{row['encode_fps']:.4g}",
    "dec fps": lambda row: f"{row['decode_fps']:.4g}",
}
"""Title to what stands in a row."""
