"""Two-hot categorical distribution over a fixed grid of values."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def symlog(x: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Return sign(x) * ln(1 + |x|)."""
    return x.sign() * x.abs().log1p()


def symexp(x: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Invert ``symlog``."""
    return x.sign() * x.abs().expm1()


class TwoHot(nn.Module):
    """Numbers as weights on two neighbouring bins (DreamerV3, arXiv 2301.04104).

    Encoding and decoding both happen in raw space: an even bet on 0 and 1 reads 0.5. Bins are
    denser near zero.
    """

    bins: Tensor

    def __init__(self, num_bins: int, limit: float) -> None:
        """Place ``num_bins`` (odd) bins at symexp of an even grid over [-limit, limit]."""
        super().__init__()
        grid = symexp(torch.linspace(-limit, limit, num_bins, dtype=torch.float64))
        self.register_buffer("bins", grid.float(), persistent=False)

    def encode(self, value: Float[Tensor, "*s"]) -> Float[Tensor, "*s n"]:
        """Return the weights whose mean over the bins is ``value``, clipped to the grid."""
        bins = self.bins
        value = value.float().clamp(bins[0], bins[-1])
        upper = torch.searchsorted(bins, value.contiguous()).clamp(1, len(bins) - 1)
        low, high = bins[upper - 1], bins[upper]
        share = (value - low) / (high - low)
        weights = torch.zeros(*value.shape, len(bins), device=value.device)
        weights.scatter_(-1, (upper - 1)[..., None], (1 - share)[..., None])
        return weights.scatter_(-1, upper[..., None], share[..., None])

    def decode(self, logits: Float[Tensor, "*s n"]) -> Float[Tensor, "*s"]:
        """Return the mean of the distribution."""
        return (torch.softmax(logits.float(), dim=-1) * self.bins).sum(dim=-1)

    def loss(
        self, logits: Float[Tensor, "*s n"], value: Float[Tensor, "*s"]
    ) -> Float[Tensor, "*s"]:
        """Return the cross-entropy to the encoded value."""
        return -(self.encode(value) * functional.log_softmax(logits.float(), dim=-1)).sum(dim=-1)
