"""Root-mean-square normalisation, computed in float32."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-6


class RMSNorm(nn.Module):
    """Scale the last axis to unit root mean square, then by a learned gain (arXiv 1910.07467)."""

    def __init__(self, width: int) -> None:
        """Start with gain 1 on each of ``width`` lanes."""
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "... m"]) -> Float[Tensor, "... m"]:
        """Normalise; the statistics are float32 whatever the input is."""
        scaled = functional.rms_norm(x.float(), self.gain.shape, self.gain.float(), EPSILON)
        return scaled.to(x.dtype)
