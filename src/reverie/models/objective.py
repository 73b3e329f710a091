"""What every training objective returns, and the scale that keeps its terms comparable."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

DECAY = 0.99


@dataclass(frozen=True, slots=True, eq=False)
class LossReport:
    """A loss to minimise and what to log beside it."""

    total: Float[Tensor, ""]
    terms: dict[str, Tensor]
    """Detached scalars that stay on the device until they are written."""


class RunningRms(nn.Module):
    """Divides a loss by the root of the running mean of its square (decay 0.99, bias-corrected).

    A constant loss reads 1. No gradient passes through the scale; under data parallelism the loss
    is averaged over ranks before it is squared, so that all ranks divide by the number that one
    process with the joined batch would divide by.
    """

    mean_square: Tensor
    num_updates: Tensor

    def __init__(self) -> None:
        """Start with no history."""
        super().__init__()
        self.register_buffer("mean_square", torch.zeros((), dtype=torch.float64))
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    def forward(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Update the history (in training mode) and return the scaled loss."""
        if self.training:
            joined = loss.detach().double()
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                joined = joined.clone()
                torch.distributed.all_reduce(joined)
                joined = joined / torch.distributed.get_world_size()
            self.mean_square.mul_(DECAY).add_(joined.square(), alpha=1 - DECAY)
            self.num_updates.add_(1)
        # All of it stays on the device: a number asked for here would make a GPU's queue run dry.
        correction = 1 - DECAY ** self.num_updates.double()
        scale = (self.mean_square / correction).sqrt().clamp_min(1e-12)
        scale = torch.where(self.num_updates > 0, scale, torch.ones_like(scale))
        return loss / scale.to(loss.dtype)
