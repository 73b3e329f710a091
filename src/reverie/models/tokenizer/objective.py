"""How a tokenizer learns: to paint back the pixels it has seen."""

from typing import Protocol

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from reverie.models.objective import LossReport, RunningRms
from reverie.models.perceptual import PerceptualTerm

SATURATED = 0.99
"""A raw latent beyond this is stuck in the flat part of the tanh."""


class TrainableTokenizer(Protocol):
    """What the objective needs of a tokenizer; all of ours have it."""

    def embed(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b t n d"]:
        """Return raw latents in [-1, 1], with gradients."""
        ...

    def paint(self, raw: Float[Tensor, "b t n d"]) -> Float[Tensor, "b t 3 h w"]:
        """Return pictures in [0, 1], with gradients."""
        ...


class TokenizerObjective(nn.Module):
    """Mean squared error over all pixels and perhaps a perceptual term, each over its running RMS.

    Differs from the paper: the perceptual term is an option, because the weights of LPIPS cannot
    be shipped, and all patches count, masked or not. An L1 loss is not offered: its optimum is the
    median picture, from which small moving objects are missing.
    """

    def __init__(
        self,
        tokenizer: nn.Module,
        *,
        latent_noise: float = 0.05,
        perceptual: PerceptualTerm | None = None,
    ) -> None:
        """Wrap a tokenizer.

        Args:
            tokenizer: A module with ``embed`` and ``paint``.
            latent_noise: Std of noise added to raw latents before the decoder, so that it
                forgives the small errors that a dream makes.
            perceptual: What is added to the squared error, on the device of the tokenizer.
        """
        super().__init__()
        self.tokenizer = tokenizer
        self.latent_noise = latent_noise
        self.pixel_rms = RunningRms()
        self.perceptual = perceptual
        if perceptual is not None:
            self.perceptual_rms = RunningRms()

    def forward(
        self,
        frames: UInt8[Tensor, "b t h w 3"],
        *,
        rng: torch.Generator,
        row_weights: Float[Tensor, " b"] | None = None,
    ) -> LossReport:
        """Return the loss of one batch of windows.

        Args:
            frames: Windows of frames; per-frame tokenizers do not mind their length.
            rng: Draws the latent noise and, where the tokenizer masks patches, the masks.
            row_weights: How much the pixels of each window count, 1 on average; None counts all
                alike.
        """
        tokenizer = self.tokenizer
        masked = getattr(tokenizer, "embed_masked", None)
        raw = masked(frames, rng=rng) if masked is not None else tokenizer.embed(frames)  # type: ignore[operator]
        noise = torch.randn(raw.shape, generator=rng, device=rng.device).to(raw)
        painted = tokenizer.paint(raw + self.latent_noise * noise)  # type: ignore[operator]
        target = rearrange(frames, "b t h w c -> b t c h w").to(painted.dtype) / 255
        errors = (painted - target).float().square()
        mse = errors.mean()
        loss = mse if row_weights is None else (errors.mean(dim=(1, 2, 3, 4)) * row_weights).mean()
        terms = {
            "mse": mse.detach(),
            "psnr_db": -10 * torch.log10(mse.detach().clamp_min(1e-10)),
            "latent_std": raw.detach().float().std(),
            "saturated_share": (raw.detach().abs() > SATURATED).float().mean(),
        }
        total = self.pixel_rms(loss)
        if self.perceptual is not None:
            distance = self.perceptual(painted, target)
            terms[self.perceptual.config.metric_name] = distance.detach()
            total = total + self.perceptual.config.weight * self.perceptual_rms(distance)
        return LossReport(total, terms)
