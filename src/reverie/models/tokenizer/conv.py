"""A per-frame convolutional tokenizer: 64x64 pixels to 4x4 tokens, for CPUs."""

from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from reverie.core.errors import ConfigError, ShapeError
from reverie.core.types import FrameSpec
from reverie.models.api import LatentSpec
from reverie.nn.norm import RMSNorm


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvTokenizerConfig:
    """Size of the convolutional tokenizer; the defaults are the ``pocket`` preset."""

    frame_px: int = 64
    """Side of the square frames; divisible by 2 ** len(channels)."""
    channels: tuple[int, ...] = (16, 32, 64, 64)
    """Channels after each halving."""
    latent_channels: int = 16

    def __post_init__(self) -> None:
        """Refuse frames that cannot be halved often enough."""
        if self.frame_px % 2 ** len(self.channels):
            raise ConfigError(
                f"frame_px must be divisible by {2 ** len(self.channels)} for "
                f"{len(self.channels)} halvings, got {self.frame_px}."
            )

    @property
    def grid(self) -> int:
        """Tokens along one side of the picture."""
        return self.frame_px // 2 ** len(self.channels)

    @property
    def num_tokens(self) -> int:
        """Tokens per frame, row by row."""
        return self.grid**2


class ConvTokenizer(nn.Module):
    """Encoder and decoder of strided convolutions; latents bounded by RMSNorm and tanh.

    Differs from the paper: Dreamer 4 has no norm before the tanh; without it small moving objects
    are lost at learning rates that a laptop needs.
    """

    scale: Tensor

    def __init__(self, config: ConvTokenizerConfig) -> None:
        """Make a tokenizer with scale 1; call ``set_scale`` after training."""
        super().__init__()
        self.config = config
        encoder: list[nn.Module] = []
        for before, after in zip((3, *config.channels), config.channels, strict=False):
            encoder += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.SiLU()]
        encoder.append(nn.Conv2d(config.channels[-1], config.latent_channels, 1))
        self.encoder = nn.Sequential(*encoder)
        self.norm = RMSNorm(config.latent_channels)
        back = (*reversed(config.channels), 3)
        decoder: list[nn.Module] = [nn.Conv2d(config.latent_channels, back[0], 3, padding=1)]
        for before, after in zip(back, back[1:], strict=False):
            decoder += [nn.SiLU(), nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
        self.decoder = nn.Sequential(*decoder)
        self.register_buffer("scale", torch.ones(()))

    @property
    def spec(self) -> LatentSpec:
        """Shape and scale of the latents."""
        return LatentSpec(
            num_tokens=self.config.num_tokens,
            num_channels=self.config.latent_channels,
            scale=float(self.scale),
        )

    @property
    def frame_spec(self) -> FrameSpec:
        """Size of the frames it reads and writes."""
        return FrameSpec(height_px=self.config.frame_px, width_px=self.config.frame_px)

    def set_scale(self, std: float) -> None:
        """Set the std of raw latents over the training set; latents are divided by it."""
        self.scale.fill_(std)

    def embed(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b t n d"]:
        """Return raw latents in [-1, 1], before scaling, with gradients."""
        if tuple(frames.shape[2:]) != self.frame_spec.shape:
            raise ShapeError(
                f"This tokenizer reads frames of {self.frame_spec.shape}, got "
                f"{tuple(frames.shape[2:])}. Resize the frames (area resampling) or retrain."
            )
        return self._embed_floats(rearrange(frames, "b t h w c -> (b t) c h w").float() / 255).view(
            *frames.shape[:2], self.config.num_tokens, self.config.latent_channels
        )

    def paint(self, raw: Float[Tensor, "b t n d"]) -> Float[Tensor, "b t 3 h w"]:
        """Return pictures in [0, 1] of raw latents, with gradients."""
        painted = self._paint_floats(rearrange(raw, "b t n d -> (b t) n d"))
        return rearrange(painted, "(b t) c h w -> b t c h w", b=raw.shape[0])

    @torch.no_grad()
    def encode(
        self, frames: UInt8[Tensor, "b t h w 3"], state: Any = None
    ) -> tuple[Float[Tensor, "b t n d"], Any]:
        """Encode each frame by itself; there is no state."""
        return self.embed(frames) / self.scale, None

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "b t n d"], state: Any = None
    ) -> tuple[UInt8[Tensor, "b t h w 3"], Any]:
        """Decode each latent by itself; there is no state."""
        pictures = self.paint(latents * self.scale)
        pixels = (pictures * 255).round().to(torch.uint8)
        return rearrange(pixels, "b t c h w -> b t h w c"), None

    @torch.no_grad()
    def round_trip(self, latents: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Return Enc(Dec(latents)) in floats."""
        return self._embed_floats(self._paint_floats(latents * self.scale)) / self.scale

    def _embed_floats(self, pictures: Float[Tensor, "r 3 h w"]) -> Float[Tensor, "r n d"]:
        features = self.encoder(pictures.contiguous(memory_format=torch.channels_last))
        return torch.tanh(self.norm(rearrange(features, "r d i j -> r (i j) d")))

    def _paint_floats(self, raw: Float[Tensor, "r n d"]) -> Float[Tensor, "r 3 h w"]:
        tiles = rearrange(raw, "r (i j) d -> r d i j", i=self.config.grid)
        return torch.sigmoid(self.decoder(tiles.contiguous(memory_format=torch.channels_last)))
