"""Distributions over actions in [-1, 1], as the policy head gives them: Gaussian or in bins."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True, eq=False)
class NormalActions:
    """An independent Gaussian per lane; samples are clipped where they enter a simulator.

    The log-probability is that of the unclipped value, so that policy gradients do not vanish at
    the border.
    """

    mean: Float[Tensor, "*s a"]
    std: Float[Tensor, "*s a"]

    def log_prob(
        self, action: Float[Tensor, "*s a"], mask: Float[Tensor, "*#s a"]
    ) -> Float[Tensor, "*s"]:
        """Return the summed log-density of the lanes that exist."""
        z = (action - self.mean) / self.std
        each = -0.5 * z.square() - self.std.log() - 0.5 * math.log(2 * math.pi)
        return (each * mask).sum(dim=-1)

    def kl(self, prior: "NormalActions", mask: Float[Tensor, "*#s a"]) -> Float[Tensor, "*s"]:
        """Return KL(self || prior), summed over the lanes that exist."""
        ratio = self.std / prior.std
        apart = (self.mean - prior.mean) / prior.std
        each = 0.5 * (ratio.square() + apart.square() - 1) - ratio.log()
        return (each * mask).sum(dim=-1)

    def sample(self, rng: torch.Generator) -> Float[Tensor, "*s a"]:
        """Draw unclipped actions."""
        noise = torch.randn(self.mean.shape, generator=rng, device=rng.device)
        return self.mean + self.std * noise.to(self.mean)


@dataclass(frozen=True, slots=True, eq=False)
class BinnedActions:
    """Every lane is a choice between evenly spaced values of [-1, 1]."""

    logits: Float[Tensor, "*s a n"]

    @property
    def bins(self) -> Float[Tensor, " n"]:
        """Value of each bin."""
        return torch.linspace(-1, 1, self.logits.shape[-1], device=self.logits.device)

    @property
    def mean(self) -> Float[Tensor, "*s a"]:
        """Expected action; between two modes it can be far worse than either."""
        return (torch.softmax(self.logits, dim=-1) * self.bins).sum(dim=-1)

    def log_prob(
        self, action: Float[Tensor, "*s a"], mask: Float[Tensor, "*#s a"]
    ) -> Float[Tensor, "*s"]:
        """Return the summed log-probability of the nearest bins of the lanes that exist."""
        last = self.logits.shape[-1] - 1
        nearest = ((action.clamp(-1, 1) + 1) / 2 * last).round().long()
        chances = functional.log_softmax(self.logits, dim=-1)
        each = chances.gather(-1, nearest[..., None])[..., 0]
        return (each * mask).sum(dim=-1)

    def kl(self, prior: "BinnedActions", mask: Float[Tensor, "*#s a"]) -> Float[Tensor, "*s"]:
        """Return KL(self || prior), summed over the lanes that exist."""
        mine = functional.log_softmax(self.logits, dim=-1)
        other = functional.log_softmax(prior.logits, dim=-1)
        return ((mine.exp() * (mine - other)).sum(dim=-1) * mask).sum(dim=-1)

    def sample(self, rng: torch.Generator) -> Float[Tensor, "*s a"]:
        """Draw one bin per lane."""
        chances = torch.softmax(self.logits, dim=-1).flatten(0, -2).to(rng.device)
        index = torch.multinomial(chances, 1, generator=rng)[:, 0].to(self.logits.device)
        return self.bins[index].reshape(self.logits.shape[:-1])


Actions = NormalActions | BinnedActions
