"""Rotary position embedding: true rotations on half-split lanes (Su et al., arXiv 2104.09864).

Weights of the MMBench2 release need the mismatched form: there, lanes 2i and 2i + 1 are paired,
while lane e turns at the rate of lane e mod c/2. That is no rotation: norms change, and logits
depend on absolute positions.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

BASE = 10_000.0
EPSILON = 1e-12
"""Vectors shorter than this are not made longer than they would be at this length."""


@dataclass(frozen=True, slots=True, eq=False)
class Rotation:
    """The angles of some positions, made once and used by every layer."""

    kept: Float[Tensor, "p 1 c"]
    """Cosines: what a lane keeps of itself."""
    crossed: Float[Tensor, "p 1 c"]
    """Signed sines: what it takes of its partner, half the lanes away."""
    is_mismatched: bool = False
    """Partners are neighbours instead."""

    @staticmethod
    def of(
        positions: Int[Tensor, " p"], num_lanes: int, *, is_mismatched: bool = False
    ) -> "Rotation":
        """Make the table of non-negative positions for heads of ``num_lanes`` lanes (even)."""
        half = num_lanes // 2
        exponents = torch.arange(half, device=positions.device, dtype=torch.float32) / half
        angles = positions.to(torch.float32)[:, None] * BASE ** (-exponents)
        cos, sin = angles.cos(), angles.sin()
        if is_mismatched:
            signs = torch.tensor([-1.0, 1.0], device=positions.device).repeat(half)
            return Rotation(
                torch.cat([cos, cos], dim=-1)[:, None],
                (torch.cat([sin, sin], dim=-1) * signs)[:, None],
                is_mismatched=True,
            )
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
        if self.is_mismatched:
            partner = wide.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
        else:
            partner = wide.roll(x.shape[-1] // 2, dims=-1)
        return torch.addcmul(wide * self.kept, partner, self.crossed).to(x.dtype)


def rotate(
    x: Float[Tensor, "*rows p h c"], positions: Int[Tensor, " p"]
) -> Float[Tensor, "*rows p h c"]:
    """Rotate queries or keys by their positions; see ``Rotation``."""
    return Rotation.of(positions, x.shape[-1]).turn(x)


def unit(x: Float[Tensor, "*rows p h c"]) -> Float[Tensor, "*rows p h c"]:
    """Scale queries or keys to length one, in float32."""
    wide = x.float()
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    return (wide / length.clamp_min(EPSILON)).to(x.dtype)


def place_keys(
    keys: Float[Tensor, "*rows p h c"], positions: Int[Tensor, " p"], *, is_mismatched: bool
) -> Float[Tensor, "*rows p h c"]:
    """Bring cached keys to their positions: unit keys are turned.

    A mismatched turn comes before the normalisation, so there the cache holds plain keys.
    """
    turned = Rotation.of(positions, keys.shape[-1], is_mismatched=is_mismatched).turn(keys)
    return unit(turned) if is_mismatched else turned
