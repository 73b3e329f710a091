"""What the tokenizer can show: the ceiling of every dream."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from reverie.evaluate.clips import Clips
from reverie.evaluate.metrics import frame_errors
from reverie.models.api import TokenizerProtocol, WorldModel


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reconstruction:
    """Clips encoded and decoded."""

    latents: Float[Tensor, "b t n d"]
    """In model units."""
    frames: UInt8[np.ndarray, "b t h w 3"]
    errors: Float[np.ndarray, "b t"]
    """Mean squared error of each frame, seen as part of its clip."""
    single_errors: Float[np.ndarray, "b t"]
    """The same with every frame by itself; equal to ``errors`` for a tokenizer without memory."""


@torch.inference_mode()
def reconstruct(world: WorldModel, clips: Clips, *, batch_rows: int) -> Reconstruction:
    """Encode and decode all clips, whole and frame by frame."""
    whole, single, latents = [], [], []
    for _, part in clips.parts(batch_rows):
        assert part.frames is not None
        given = part.frames.to(world.device)
        latent, frames = _round_trip(world.tokenizer, given)
        alone = given.flatten(0, 1)[:, None]
        single.append(_round_trip(world.tokenizer, alone)[1].view_as(given).cpu().numpy())
        whole.append(frames.cpu().numpy())
        latents.append(latent)
    shown, truth = np.concatenate(whole), clips.pictures()
    return Reconstruction(
        latents=torch.cat(latents),
        frames=shown,
        errors=frame_errors(shown, truth),
        single_errors=frame_errors(np.concatenate(single), truth),
    )


def _round_trip(
    tokenizer: TokenizerProtocol, frames: UInt8[Tensor, "b t h w 3"]
) -> tuple[Float[Tensor, "b t n d"], UInt8[Tensor, "b t h w 3"]]:
    latents, _ = tokenizer.encode(frames)
    shown, _ = tokenizer.decode(latents)
    return latents, shown


def real_motion(world: WorldModel, latents: Float[Tensor, "b t n d"]) -> float:
    """Return the mean motion of real latents, in the tokenizer's own units."""
    moved = (latents[:, 1:] - latents[:, :-1]).flatten(2).square().mean(dim=2).sqrt()
    return float(moved.mean()) * world.latent_spec.scale
