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
    denser near zero. Published weights may need both in symlog space instead.
    """

    bins: Tensor

    def __init__(
        self,
        num_bins: int,
        limit: float,
        *,
        lowest: float | None = None,
        is_symlog: bool = False,
    ) -> None:
        """Place ``num_bins`` bins at symexp of an even grid over [-limit, limit].

        Args:
            num_bins: Odd, so that one of them is zero.
            limit: Upper end of the grid, in symlog space.
            lowest: Lower end, if it is not ``-limit``.
            is_symlog: Keep the grid, and means over it, in symlog space.
        """
        super().__init__()
        lowest = -limit if lowest is None else lowest
        grid = torch.linspace(lowest, limit, num_bins, dtype=torch.float64)
        self.is_symlog = is_symlog
        bins = grid if is_symlog else symexp(grid)
        self.register_buffer("bins", bins.float(), persistent=False)

    def encode(self, value: Float[Tensor, "*s"]) -> Float[Tensor, "*s n"]:
        """Return the weights whose mean over the bins is ``value``, clipped to the grid."""
        bins = self.bins
        value = symlog(value.float()) if self.is_symlog else value.float()
        value = value.clamp(bins[0], bins[-1])
        upper = torch.searchsorted(bins, value.contiguous()).clamp(1, len(bins) - 1)
        low, high = bins[upper - 1], bins[upper]
        share = (value - low) / (high - low)
        weights = torch.zeros(*value.shape, len(bins), device=value.device)
        weights.scatter_(-1, (upper - 1)[..., None], (1 - share)[..., None])
        return weights.scatter_(-1, upper[..., None], share[..., None])

    def decode(self, logits: Float[Tensor, "*s n"]) -> Float[Tensor, "*s"]:
        """Return the mean of the distribution."""
        mean = (torch.softmax(logits.float(), dim=-1) * self.bins).sum(dim=-1)
        return symexp(mean) if self.is_symlog else mean

    def loss(
        self, logits: Float[Tensor, "*s n"], value: Float[Tensor, "*s"]
    ) -> Float[Tensor, "*s"]:
        """Return the cross-entropy to the encoded value."""
        return -(self.encode(value) * functional.log_softmax(logits.float(), dim=-1)).sum(dim=-1)
