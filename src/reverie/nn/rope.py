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
    cos, sin = angles.cos(), angles.sin()
    kept = torch.cat([cos, cos], dim=-1)[:, None]
    crossed = torch.cat([-sin, sin], dim=-1)[:, None]
    wide = x.float()
    return (wide * kept + wide.roll(half, dims=-1) * crossed).to(x.dtype)
