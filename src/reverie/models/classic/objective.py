"""How V and M learn."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from reverie.core.errors import ConfigError
from reverie.models.classic.mdn_rnn import MdnRnn
from reverie.models.classic.vae import Vae
from reverie.models.objective import LossReport


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeObjectiveConfig:
    """The evidence bound as Ha & Schmidhuber optimise it: summed, with a floor under the KL."""

    pixel_std: float = 0.1
    """Std of the pixel model. Their code amounts to sqrt(0.5), where small things vanish from the
    sampled latent."""
    kl_floor: float = 0.5
    """Nats per latent dimension below which the KL, summed over dimensions, costs nothing more."""
    kl_warmup_steps: int = 0
    """Steps over which the KL's weight rises from 0 to 1."""

    def __post_init__(self) -> None:
        """Refuse spreads and floors that cannot work."""
        if not self.pixel_std > 0 or self.kl_floor < 0 or self.kl_warmup_steps < 0:
            raise ConfigError(
                f"pixel_std must be positive, kl_floor and kl_warmup_steps at least 0, got "
                f"{self.pixel_std}, {self.kl_floor} and {self.kl_warmup_steps}."
            )


class VaeObjective(nn.Module):
    """Squared error **summed** over pixels / (2 pixel_std^2) + max(KL, floor), mean over rows.

    Averaging over pixels instead would weigh the KL ten thousand times more: the posterior
    collapses and the latent says nothing.
    """

    def __init__(self, vae: Vae, config: VaeObjectiveConfig) -> None:
        """Wrap an untrained V."""
        super().__init__()
        self.vae = vae
        self.config = config

    def forward(
        self, stacks: UInt8[Tensor, "r c h w"], *, step: int, rng: torch.Generator
    ) -> LossReport:
        """Return the loss of one batch of stacked frames.

        Args:
            stacks: Frames as ``Vae.to_stacks`` joins them.
            step: Optimiser steps done; the KL's weight depends on it.
            rng: Draws the posterior samples.
        """
        vae, config = self.vae, self.config
        mean, log_variance = vae.posterior(stacks)
        noise = torch.randn(mean.shape, generator=rng, device=rng.device).to(mean)
        painted = vae.paint(mean + torch.exp(0.5 * log_variance) * noise)
        error = (painted - vae.to_floats(stacks)).square().flatten(1).sum(dim=1).mean()
        kl = kl_to_prior(mean, log_variance)
        floor = config.kl_floor * vae.config.latent_channels
        weight = min(1.0, (step + 1) / config.kl_warmup_steps) if config.kl_warmup_steps else 1.0
        total = error / (2 * config.pixel_std**2) + weight * kl.clamp_min(floor).mean()
        mse = error.detach() / stacks[0].numel()
        terms = {
            "mse": mse,
            "psnr_db": -10 * torch.log10(mse.clamp_min(1e-10)),
            "kl_nats": kl.detach().mean(),
            "summed_error": error.detach(),
        }
        return LossReport(total, terms)


def kl_to_prior(
    mean: Float[Tensor, "r d"], log_variance: Float[Tensor, "r d"]
) -> Float[Tensor, " r"]:
    """Return KL(N(mean, variance) || N(0, 1)) in nats, summed over dimensions."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LatentWindows:
    """Windows of V's posteriors with what lies between them, looking back as a ``Batch`` does."""

    mean: Float[Tensor, "b t d"]
    log_variance: Float[Tensor, "b t d"]
    prev_actions: Float[Tensor, "b t a"]
    prev_rewards: Float[Tensor, "b t"]
    is_first: Bool[Tensor, "b t"]
    is_terminal: Bool[Tensor, "b t"]


class MdnRnnObjective(nn.Module):
    """Negative log-likelihood of the next latent, end and reward, under teacher forcing.

    Latents are drawn anew from their posteriors in every step: the same pairs never give the same
    batch, which is what keeps M from learning them by heart (Ha & Schmidhuber 2018).
    """

    def __init__(
        self, rnn: MdnRnn, *, end_loss_weight: float = 1.0, latent_dropout: float = 0.0
    ) -> None:
        """Wrap an untrained M.

        Args:
            rnn: The network.
            end_loss_weight: Weight of the end loss beside the likelihood per dimension.
            latent_dropout: Chance of an input dimension to be replaced by zero, the prior's mean.
        """
        super().__init__()
        self.rnn = rnn
        self.end_loss_weight = end_loss_weight
        self.latent_dropout = latent_dropout

    def forward(self, windows: LatentWindows, *, rng: torch.Generator) -> LossReport:
        """Return the loss of one batch of windows.

        Args:
            windows: Episodes may follow each other inside a window.
            rng: Draws latents and dropped lanes.
        """
        latents = draw_latents(windows.mean, windows.log_variance, rng)
        inputs = latents[:, :-1]
        if self.latent_dropout and self.training:
            chance = torch.rand(inputs.shape, generator=rng, device=rng.device)
            inputs = inputs * (chance >= self.latent_dropout)
        read = self.rnn.to_inputs(inputs, windows.prev_actions[:, 1:], windows.is_first[:, :-1])
        hidden, _ = self.rnn.lstm(read, windows.is_first[:, :-1])
        return self._losses(hidden, inputs, latents[:, 1:], windows)

    def _losses(
        self,
        hidden: Float[Tensor, "b t m"],
        inputs: Float[Tensor, "b t d"],
        targets: Float[Tensor, "b t d"],
        windows: LatentWindows,
    ) -> LossReport:
        config = self.rnn.config
        # Where the next frame begins another episode, nothing led to it.
        real = ~windows.is_first[:, 1:]
        mixture, end = self.rnn.mixture(hidden, inputs)
        log_prob = mixture.log_prob(targets).mean(dim=-1)
        total = nll = -log_prob[real].mean()
        terms = {"nll": nll.detach()}
        if config.has_end:
            loss = functional.binary_cross_entropy_with_logits(
                end[real],
                windows.is_terminal[:, 1:][real].to(end.dtype),
                pos_weight=end.new_tensor(config.end_weight),
            )
            total = total + self.end_loss_weight * loss
            terms["end"] = loss.detach()
        if config.has_reward:
            error = self.rnn.expected_reward(hidden) - windows.prev_rewards[:, 1:]
            loss = error[real].square().mean()
            total = total + loss
            terms["reward_mse"] = loss.detach()
        return LossReport(total, terms)


def draw_latents(
    mean: Float[Tensor, "*s d"], log_variance: Float[Tensor, "*s d"], rng: torch.Generator
) -> Float[Tensor, "*s d"]:
    """Draw one latent from every posterior."""
    noise = torch.randn(mean.shape, generator=rng, device=rng.device).to(mean)
    return mean + torch.exp(0.5 * log_variance) * noise
