"""Where in the picture the dream is wrong: a heat map in pixels.

The tokens of a latent need not have a place in the picture, so the map is made of pictures: what
the dream shows, against what the tokenizer makes of it when it looks again.
"""

import torch
from einops import reduce
from jaxtyping import Float, UInt8
from torch import Tensor

from reverie.core.errors import ShapeError
from reverie.models.api import WorldModel

PATCHES = 14
"""Patches along each side: 16 pixels each at 224×224."""


def patch_px(side_px: int) -> int:
    """Return the side of a patch: about a fourteenth of the picture, and a divisor of it."""
    wanted = side_px / PATCHES
    divisors = [size for size in range(1, side_px + 1) if side_px % size == 0]
    return min(divisors, key=lambda size: (abs(size - wanted), size))


def to_patches(
    values: Float[Tensor, "b h w"], size_px: int | None = None
) -> Float[Tensor, "b r c"]:
    """Average a map over square patches.

    Args:
        values: One number a pixel.
        size_px: Side of a patch; by default what ``patch_px`` says of the height.

    Raises:
        ShapeError: The picture is no whole number of patches.
    """
    size = size_px or patch_px(values.shape[1])
    if values.shape[1] % size or values.shape[2] % size:
        raise ShapeError(
            f"A map of {values.shape[1]}x{values.shape[2]} cannot be cut into patches of {size} "
            f"pixels. Choose a divisor of both sides."
        )
    return reduce(values, "b (r p) (c q) -> b r c", "mean", p=size, q=size)


def difference_map(
    first: UInt8[Tensor, "b h w 3"], second: UInt8[Tensor, "b h w 3"], size_px: int | None = None
) -> Float[Tensor, "b r c"]:
    """Return the mean absolute difference over channels and patches, in [0, 1]."""
    pixels = ((first.float() - second.float()).abs() / 255.0).mean(dim=3)
    return to_patches(pixels, size_px)


@torch.no_grad()
def round_trip_map(
    world: WorldModel, dreamed: UInt8[Tensor, "b h w 3"], size_px: int | None = None
) -> Float[Tensor, "b r c"]:
    """Return |x̂ − Dec(Enc(x̂))| of dreamed pictures, by patches."""
    latents, _ = world.tokenizer.encode(dreamed[:, None])
    again, _ = world.tokenizer.decode(latents)
    return difference_map(dreamed, again[:, 0], size_px)


def seed_map(
    pictures: UInt8[Tensor, "b s h w 3"], size_px: int | None = None
) -> Float[Tensor, "b r c"]:
    """Return the standard deviation over noise seeds of the same dreamed frame, by patches."""
    spread = (pictures.float() / 255.0).std(dim=1, unbiased=True).mean(dim=3)
    return to_patches(spread, size_px)
