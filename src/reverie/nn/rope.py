"""Rotary position embedding: true rotations on half-split lanes (Su et al., arXiv 2104.09864)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

BASE = 10_000.0


@dataclass(frozen=True, slots=True, eq=False)
class Rotation:
    """The angles of some positions, made once and used by every layer."""

    kept: Float[Tensor, "p 1 c"]
    """Cosines: what a lane keeps of itself."""
    crossed: Float[Tensor, "p 1 c"]
    """Signed sines: what it takes of its partner, half the lanes away."""

    @staticmethod
    def of(positions: Int[Tensor, " p"], num_lanes: int) -> "Rotation":
        """Make the table of non-negative positions for heads of ``num_lanes`` lanes (even)."""
        half = num_lanes // 2
        exponents = torch.arange(half, device=positions.device, dtype=torch.float32) / half
        angles = positions.to(torch.float32)[:, None] * BASE ** (-exponents)
        cos, sin = angles.cos(), angles.sin()
        return Rotation(
            torch.cat([cos, cos], dim=-1)[:, None], torch.cat([-sin, sin], dim=-1)[:, None]
        )

    def turn(self, x: Float[Tensor, "*rows p h c"]) -> Float[Tensor, "*rows p h c"]:
        """Rotate lane ``i`` with lane ``i + c/2`` by an angle that grows with the position.

        Norms are kept, and the product of two rotated vectors depends only on the difference of
        their positions.

        Args:
            x: Queries or keys; ``p`` positions, ``h`` heads, ``c`` lanes.
        """
        wide = x.float()
        partner = wide.roll(x.shape[-1] // 2, dims=-1)
        return torch.addcmul(wide * self.kept, partner, self.crossed).to(x.dtype)


def rotate(
    x: Float[Tensor, "*rows p h c"], positions: Int[Tensor, " p"]
) -> Float[Tensor, "*rows p h c"]:
    """Rotate queries or keys by their positions; see ``Rotation``."""
    return Rotation.of(positions, x.shape[-1]).turn(x)
