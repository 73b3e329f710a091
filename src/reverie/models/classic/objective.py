"""How V and M learn."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from reverie.core.config import added
from reverie.core.errors import ConfigError
from reverie.models.classic.contrast import contrast_actions, draw_candidates
from reverie.models.classic.mdn_rnn import MdnRnn, Mixture
from reverie.models.classic.vae import Vae
from reverie.models.objective import LossReport

_LARGE_MISS_STDS = 3.0
"""Beyond so many stds a dreamed step's error counts linearly: a lost dream teaches little."""


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
    large_error: float | None = added(None)
    """Errors beyond this (of a pixel in [0, 1]) count by their fourth power: e^2 (1 + (e / it)^2).
    What is missing altogether, such as a small bright ball, then outweighs the texture of all
    walls. None squares every error."""

    def __post_init__(self) -> None:
        """Refuse spreads and floors that cannot work."""
        if not self.pixel_std > 0 or self.kl_floor < 0 or self.kl_warmup_steps < 0:
            raise ConfigError(
                f"pixel_std must be positive, kl_floor and kl_warmup_steps at least 0, got "
                f"{self.pixel_std}, {self.kl_floor} and {self.kl_warmup_steps}."
            )
        if self.large_error is not None and not self.large_error > 0:
            raise ConfigError(
                f"large_error must be positive, got {self.large_error}. Try 0.1, or null."
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
        squares = (painted - vae.to_floats(stacks)).square().flatten(1)
        weighed = squares
        if config.large_error is not None:
            weighed = squares * (1 + squares / config.large_error**2)
        error, plain = (errors.sum(dim=1).mean() for errors in (weighed, squares.detach()))
        kl = kl_to_prior(mean, log_variance)
        floor = config.kl_floor * vae.config.latent_channels
        weight = min(1.0, (step + 1) / config.kl_warmup_steps) if config.kl_warmup_steps else 1.0
        total = error / (2 * config.pixel_std**2) + weight * kl.clamp_min(floor).mean()
        mse = plain / stacks[0].numel()
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

    def before(self, end: int) -> "LatentWindows":
        """Return the frames before ``end``."""
        return LatentWindows(
            **{field.name: getattr(self, field.name)[:, :end] for field in fields(self)}
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class MdnRnnObjectiveConfig:
    """What M is asked for beside the likelihood of the next latent."""

    end_weight: float = 1.0
    """Weight of the end loss beside the likelihood per dimension."""
    latent_dropout: float = 0.0
    """Chance of an input dimension to be replaced by zero, the prior's mean."""
    free_steps: int = 0
    """The last steps of every window are dreamed from M's own samples instead of read, and pulled
    towards what happened. An M that never met its own errors drifts off within twenty steps."""
    free_weight: float = 0.3
    """Weight of the dreamed steps beside the read ones."""
    free_min_std: float = 0.05
    """Errors of dreamed steps are measured in predicted stds, but in no smaller ones than this."""
    contrast_weight: float = added(0.0)
    """Weight of the contrast over actions: the last read frames must be explained better by what
    was done than by what was not. 0 switches it off; the specification's weight is 0.1."""
    contrast_steps: int = added(1)
    """Actions that are perturbed together. A simulator that moves by its old velocity, as CartPole
    does, shows an action two frames later: with 1 there is nothing to tell apart."""
    contrast_rows: int = added(8)
    """Other rows whose actions compete, beside the opposite of the true ones."""

    def __post_init__(self) -> None:
        """Refuse what cannot be weighed."""
        numbers = (self.end_weight, self.latent_dropout, self.free_steps, self.free_weight)
        if min(numbers) < 0 or not self.free_min_std > 0:
            raise ConfigError(
                f"end_weight, latent_dropout, free_steps and free_weight must be at least 0 and "
                f"free_min_std positive, got {numbers} and {self.free_min_std}."
            )
        if min(self.contrast_weight, self.contrast_rows) < 0 or self.contrast_steps < 1:
            raise ConfigError(
                f"contrast_weight and contrast_rows must be at least 0 and contrast_steps at "
                f"least 1, got {self.contrast_weight}, {self.contrast_rows} and "
                f"{self.contrast_steps}."
            )


class MdnRnnObjective(nn.Module):
    """Negative log-likelihood of the next latent, end and reward, under teacher forcing.

    Latents are drawn anew from their posteriors in every step: the same pairs never give the same
    batch, which is what keeps M from learning them by heart (Ha & Schmidhuber 2018).
    """

    def __init__(
        self,
        rnn: MdnRnn,
        config: MdnRnnObjectiveConfig = MdnRnnObjectiveConfig(),  # noqa: B008
    ) -> None:
        """Wrap an untrained M."""
        super().__init__()
        self.rnn = rnn
        self.config = config

    def forward(self, windows: LatentWindows, *, rng: torch.Generator) -> LossReport:
        """Return the loss of one batch of windows.

        Args:
            windows: Episodes may follow each other inside a window.
            rng: Draws latents, dropped lanes and the noise of dreamed steps.
        """
        config = self.config
        latents = draw_latents(windows.mean, windows.log_variance, rng)
        num_read = self._num_read(latents)
        inputs = latents[:, :num_read]
        if config.latent_dropout and self.training:
            chance = torch.rand(inputs.shape, generator=rng, device=rng.device)
            inputs = inputs * (chance >= config.latent_dropout)
        is_first = windows.is_first[:, :num_read]
        read = self.rnn.to_inputs(inputs, windows.prev_actions[:, 1 : num_read + 1], is_first)
        hidden, cell = self.rnn.lstm(read, is_first)
        near = windows.before(num_read + 1)
        report = self._losses(hidden, inputs, latents[:, 1 : num_read + 1], near)
        total, terms = report.total, report.terms
        if config.free_steps:
            error, end = self._dreamed(windows, latents, hidden[:, -1], cell, rng)
            total = total + config.free_weight * (error + config.end_weight * end)
            terms = {**terms, "free": error.detach()}
        if config.contrast_weight:
            contrast = self._contrast(near, latents, read, rng)
            total = total + config.contrast_weight * contrast
            terms = {**terms, "contrast": contrast.detach()}
        return LossReport(total, terms)

    def _num_read(self, latents: Float[Tensor, "b t d"]) -> int:
        """Return how many frames are read: all but the last and the dreamed ones."""
        config = self.config
        num_read = latents.shape[1] - 1 - config.free_steps
        if num_read < 1:
            raise ConfigError(
                f"Windows of {latents.shape[1]} frames leave nothing to read before "
                f"{config.free_steps} dreamed steps. Set a larger window_length."
            )
        if config.contrast_weight and num_read <= config.contrast_steps:
            raise ConfigError(
                f"{num_read} frames of a window are read, and a contrast over "
                f"{config.contrast_steps} actions needs one more before them. Set a larger "
                f"window_length or a smaller contrast_steps."
            )
        return num_read

    def _contrast(
        self,
        near: LatentWindows,
        latents: Float[Tensor, "b t d"],
        read: Float[Tensor, "b r i"],
        rng: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Perturb the last read actions; rows that begin an episode among them do not count.

        Windows begin anywhere, so the end of what is read is as good a place as any other.
        """
        config, num_read = self.config, read.shape[1]
        first = num_read - config.contrast_steps
        hidden, cell = self.rnn.lstm(read[:, :first], near.is_first[:, :first])
        actions = near.prev_actions[:, first + 1 : num_read + 1]
        counts = ~near.is_first[:, first : num_read + 1].any(dim=1)
        losses = contrast_actions(
            self.rnn,
            (hidden[:, -1], cell),
            latents[:, first:num_read],
            draw_candidates(actions, config.contrast_rows, rng),
            latents[:, num_read],
            counts,
        )
        return losses.sum() / counts.sum().clamp_min(1)

    def _dreamed(
        self,
        windows: LatentWindows,
        latents: Float[Tensor, "b t d"],
        hidden: Float[Tensor, "b m"],
        cell: Float[Tensor, "b m"],
        rng: torch.Generator,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Dream the last steps on M's own samples; return errors in stds, and the end loss.

        Spreads are not trained here: they would grow to cover the drift.
        """
        rnn, first = self.rnn, latents.shape[1] - 1 - self.config.free_steps
        latent = latents[:, first - 1]
        goes_on = torch.ones_like(windows.is_first[:, 0])
        sums, count = latents.new_zeros(2), latents.new_zeros(())
        for frame in range(first, latents.shape[1]):
            mixture, end = rnn.mixture(hidden, latent)
            goes_on = goes_on & ~windows.is_first[:, frame]
            if frame > first:
                # The first of these steps was read, and counted there.
                alive = goes_on.to(latents.dtype)
                miss = self._miss(mixture, hidden, latents[:, frame], windows, frame)
                wrong = self._wrong_end(end, windows.is_terminal[:, frame])
                sums = sums + torch.stack([(miss * alive).sum(), (wrong * alive).sum()])
                count = count + alive.sum()
            if frame + 1 < latents.shape[1]:
                normal, uniform = _draw_pair(latent, rng)
                latent = mixture.sample(temperature=1.0, normal=normal, uniform=uniform)
                read = rnn.to_inputs(latent, windows.prev_actions[:, frame + 1], ~goes_on)
                hidden, cell = rnn.lstm.step(read, hidden, cell)
        error, end_loss = (sums / count.clamp_min(1)).unbind()
        return error, end_loss

    def _miss(
        self,
        mixture: Mixture,
        hidden: Float[Tensor, "b m"],
        truth: Float[Tensor, "b d"],
        windows: LatentWindows,
        frame: int,
    ) -> Float[Tensor, " b"]:
        std = mixture.std().detach().clamp_min(self.config.free_min_std)
        off = (mixture.mean() - truth) / std
        bent = functional.huber_loss(
            off, torch.zeros_like(off), reduction="none", delta=_LARGE_MISS_STDS
        )
        if not self.rnn.config.has_reward:
            return bent.mean(dim=1)
        paid = self.rnn.expected_reward(hidden) - windows.prev_rewards[:, frame]
        return bent.mean(dim=1) + paid.square()

    def _wrong_end(
        self, end: Float[Tensor, " b"], is_terminal: Bool[Tensor, " b"]
    ) -> Float[Tensor, " b"]:
        if not self.rnn.config.has_end:
            return torch.zeros_like(end)
        return functional.binary_cross_entropy_with_logits(
            end,
            is_terminal.to(end.dtype),
            pos_weight=end.new_tensor(self.rnn.config.end_weight),
            reduction="none",
        )

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
            total = total + self.config.end_weight * loss
            terms["end"] = loss.detach()
        if config.has_reward:
            error = self.rnn.expected_reward(hidden) - windows.prev_rewards[:, 1:]
            loss = error[real].square().mean()
            total = total + loss
            terms["reward_mse"] = loss.detach()
        return LossReport(total, terms)


def _draw_pair(
    like: Float[Tensor, "b d"], rng: torch.Generator
) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
    normal = torch.randn(like.shape, generator=rng, device=rng.device).to(like)
    uniform = torch.rand(like.shape, generator=rng, device=rng.device).to(like)
    return normal, uniform


def draw_latents(
    mean: Float[Tensor, "*s d"], log_variance: Float[Tensor, "*s d"], rng: torch.Generator
) -> Float[Tensor, "*s d"]:
    """Draw one latent from every posterior."""
    noise = torch.randn(mean.shape, generator=rng, device=rng.device).to(mean)
    return mean + torch.exp(0.5 * log_variance) * noise
