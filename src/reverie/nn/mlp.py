"""Gated feed-forward layer."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

HIDDEN_MULTIPLE = 32


def hidden_width(width: int) -> int:
    """Return 8/3 of the width, rounded up to a multiple of 32: as many weights as a 4x MLP."""
    return -(-8 * width // (3 * HIDDEN_MULTIPLE)) * HIDDEN_MULTIPLE


class SwiGLU(nn.Module):
    """down(SiLU(gate(x)) * up(x)), by default without biases (Shazeer, arXiv 2002.05202)."""

    def __init__(self, width: int, hidden: int, *, has_biases: bool = False) -> None:
        """Make the three matrices."""
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=has_biases)
        self.up = nn.Linear(width, hidden, bias=has_biases)
        self.down = nn.Linear(hidden, width, bias=has_biases)

    def forward(self, x: Float[Tensor, "... m"]) -> Float[Tensor, "... m"]:
        """Apply the layer to the last axis."""
        return self.down(functional.silu(self.gate(x)) * self.up(x))
