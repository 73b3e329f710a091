"""Rotary position embedding: true rotations on half-split lanes (Su et al., arXiv 2104.09864)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

BASE = 10_000.0


def rotate(
    x: Float[Tensor, "*rows p h c"], positions: Int[Tensor, " p"]
) -> Float[Tensor, "*rows p h c"]:
    """Rotate lane ``i`` with lane ``i + c/2`` by an angle that grows with the position.

    Norms are kept, and the product of two rotated vectors depends only on the difference of
    their positions.

    Args:
        x: Queries or keys; ``p`` positions, ``h`` heads, ``c`` lanes (even).
        positions: Non-negative positions, one per entry of axis ``p``.
    """
    half = x.shape[-1] // 2
    exponents = torch.arange(half, device=x.device, dtype=torch.float32) / half
    angles = positions.to(torch.float32)[:, None] * BASE ** (-exponents)
    cos, sin = angles.cos()[:, None, :], angles.sin()[:, None, :]
    first, second = x[..., :half].float(), x[..., half:].float()
    turned = torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return turned.to(x.dtype)
