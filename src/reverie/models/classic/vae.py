"""V: a convolutional variational auto-encoder with one token per frame (arXiv 1803.10122)."""

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from reverie.core.errors import ConfigError, ShapeError
from reverie.core.types import FrameSpec
from reverie.models.api import LatentSpec

STRIDE = 2
"""Every layer halves or doubles the picture; nothing is padded."""
ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU}


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeConfig:
    """Layers of V. The defaults are the table of Ha & Schmidhuber 2018 for CarRacing."""

    frame_px: int = 64
    num_stacked: int = 1
    """Frames that are seen at once, the newest last; more than one shows velocities."""
    latent_channels: int = 32
    encoder_kernels: tuple[int, ...] = (4, 4, 4, 4)
    encoder_channels: tuple[int, ...] = (32, 64, 128, 256)
    decoder_channels: tuple[int, ...] = (1024, 128, 64, 32)
    """Channels of the decoder's single first pixel, then of its layers; the last paints."""
    decoder_kernels: tuple[int, ...] = (5, 5, 6, 6)
    activation: Literal["relu", "silu"] = "relu"
    output: Literal["sigmoid", "linear"] = "sigmoid"
    """Linear outputs keep a gradient where a sigmoid has saturated: short runs with a small
    ``pixel_std`` otherwise stay at the median picture for good."""
    inverts_colours: bool = False
    """Paint on black: frames that are mostly white otherwise begin with a huge error."""
    has_components: bool = False
    """Whether principal components of the frames carry the latent, and the convolutions learn what
    these miss. Short runs of convolutions alone do not see a motion of a tenth of a pixel."""
    component_blur_px: float = 0.0
    """Components read the frames blurred from left to right by a Gaussian of this std. The first
    components of a wide blur tell where things are, over long ways, and not what they look like."""
    component_std: float = 0.02
    """Std of the pixel model of the components, after the blur."""

    def __post_init__(self) -> None:
        """Refuse layers that do not fit each other or the frame."""
        if len(self.encoder_kernels) != len(self.encoder_channels):
            raise ConfigError(
                f"The encoder needs as many kernels as channels, got {self.encoder_kernels} and "
                f"{self.encoder_channels}."
            )
        if len(self.decoder_kernels) != len(self.decoder_channels):
            raise ConfigError(
                f"The decoder needs as many kernels as channels, got {self.decoder_kernels} and "
                f"{self.decoder_channels}."
            )
        if self.num_stacked < 1 or self.latent_channels < 1:
            raise ConfigError(
                f"num_stacked and latent_channels must be at least 1, got {self.num_stacked} and "
                f"{self.latent_channels}."
            )
        if self.encoded_px < 1:
            raise ConfigError(
                f"Frames of {self.frame_px} px shrink to nothing under kernels "
                f"{self.encoder_kernels}. Use smaller kernels or fewer layers."
            )
        if self.painted_px != self.frame_px:
            raise ConfigError(
                f"The decoder paints {self.painted_px} px, frames have {self.frame_px}. Kernels "
                f"(5, 5, 6, 6) paint 64 px, (2, 4, 5, 4) paint 32."
            )

    @property
    def in_channels(self) -> int:
        """Channels of a stack of RGB frames."""
        return 3 * self.num_stacked

    @property
    def encoded_px(self) -> int:
        """Side of the encoder's last map."""
        side = self.frame_px
        for kernel in self.encoder_kernels:
            side = (side - kernel) // STRIDE + 1 if side >= kernel else 0
        return side

    @property
    def painted_px(self) -> int:
        """Side of what the decoder paints."""
        side = 1
        for kernel in self.decoder_kernels:
            side = (side - 1) * STRIDE + kernel
        return side


class Vae(nn.Module):
    """A tokenizer whose latent is one token: the mean of the posterior.

    ``encode`` gives the mean; ``encode_posterior`` the mean and the log-variance, from which the
    caller draws, so that nothing random happens inside. The state of ``encode`` is the frames
    that the next stack needs.
    """

    def __init__(self, config: VaeConfig) -> None:
        """Build untrained layers."""
        super().__init__()
        self.config = config
        width = config.encoder_channels[-1] * config.encoded_px**2
        self.encoder = _make_encoder(config)
        self.mean = nn.Linear(width, config.latent_channels)
        self.log_variance = nn.Linear(width, config.latent_channels)
        self.expand = nn.Linear(config.latent_channels, config.decoder_channels[0])
        self.decoder = _make_decoder(config)
        self.components: Components | None = None
        if config.has_components:
            self.components = Components(config)

    def fit_components(self, stacks: UInt8[Tensor, "r c h w"], *, seed: int) -> None:
        """Set the components from real frames, and let the convolutions begin by adding nothing.

        Does nothing in a V without components.

        Args:
            stacks: Some thousands, from everywhere in the data.
            seed: Of the randomised decomposition.
        """
        if self.components is None:
            return
        self.components.fit(self.to_floats(stacks).flatten(1), seed=seed)
        for head in (self.mean, self.log_variance, self.decoder[-1]):
            nn.init.zeros_(cast(Tensor, head.weight))
            nn.init.zeros_(cast(Tensor, head.bias))

    @property
    def device(self) -> torch.device:
        """Where V lives; a convolution's place, for linear layers may have been quantised."""
        return cast(Tensor, self.encoder[0].weight).device

    @property
    def spec(self) -> LatentSpec:
        """One token; the prior has unit variance, so the scale is 1."""
        return LatentSpec(num_tokens=1, num_channels=self.config.latent_channels, scale=1.0)

    @property
    def frame_spec(self) -> FrameSpec:
        """Size of the frames it reads and paints."""
        return FrameSpec(height_px=self.config.frame_px, width_px=self.config.frame_px)

    def to_stacks(
        self, frames: UInt8[Tensor, "b t h w 3"], state: Any = None
    ) -> tuple[UInt8[Tensor, "b t c h w"], Any]:
        """Join every frame with those before it; the first one is repeated where none came before.

        Args:
            frames: Frames that follow each other, all of one episode.
            state: What an earlier call returned, or None at the first frame.

        Returns:
            Stacks with the newest frame's channels last, and the next state.
        """
        if tuple(frames.shape[2:]) != self.frame_spec.shape:
            raise ShapeError(
                f"This VAE reads frames of {self.frame_spec.shape}, got "
                f"{tuple(frames.shape[2:])}. Resize the frames (area resampling) or retrain."
            )
        num_before = self.config.num_stacked - 1
        before = frames[:, :1].repeat(1, num_before, 1, 1, 1) if state is None else state
        whole = torch.cat([before, frames], dim=1)
        length = frames.shape[1]
        shifted = [whole[:, shift : shift + length] for shift in range(num_before + 1)]
        stacks = rearrange(torch.stack(shifted, dim=2), "b t s h w c -> b t (s c) h w")
        return stacks, whole[:, length:]

    def posterior(
        self, stacks: UInt8[Tensor, "r c h w"]
    ) -> tuple[Float[Tensor, "r d"], Float[Tensor, "r d"]]:
        """Return mean and log-variance of stacks, with gradients."""
        return self._posterior_of_floats(self.to_floats(stacks))

    def to_floats(self, stacks: UInt8[Tensor, "r c h w"]) -> Float[Tensor, "r c h w"]:
        """Return stacks in [0, 1], inverted if the config says so."""
        floats = stacks.to(next(self.encoder.parameters()).dtype) / 255
        return 1 - floats if self.config.inverts_colours else floats

    def paint(self, latents: Float[Tensor, "r d"]) -> Float[Tensor, "r c h w"]:
        """Return painted stacks (inverted if the config says so), with gradients.

        A linear output may leave [0, 1] a little.
        """
        painted = self.decoder(rearrange(self.expand(latents), "r m -> r m 1 1"))
        if self.components is not None:
            painted = painted + self.components.paint(latents).view(painted.shape)
        return torch.sigmoid(painted) if self.config.output == "sigmoid" else painted

    @torch.no_grad()
    def encode_posterior(
        self, frames: UInt8[Tensor, "b t h w 3"], state: Any = None
    ) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b t d"], Any]:
        """Return mean, log-variance and the next state of frames that follow those of ``state``."""
        stacks, after = self.to_stacks(frames, state)
        mean, log_variance = self.posterior(rearrange(stacks, "b t c h w -> (b t) c h w"))
        size = (*frames.shape[:2], self.config.latent_channels)
        return mean.view(size), log_variance.view(size), after

    @torch.no_grad()
    def encode(
        self, frames: UInt8[Tensor, "b t h w 3"], state: Any = None
    ) -> tuple[Float[Tensor, "b t n d"], Any]:
        """Return posterior means; the state holds the frames that the next stack needs."""
        mean, _, after = self.encode_posterior(frames, state)
        return rearrange(mean, "b t d -> b t 1 d"), after

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "b t n d"], state: Any = None
    ) -> tuple[UInt8[Tensor, "b t h w 3"], Any]:
        """Paint the newest frame of every stack; each latent by itself, so there is no state."""
        painted = self.paint(rearrange(latents, "b t 1 d -> (b t) d"))[:, -3:]
        shown = 1 - painted if self.config.inverts_colours else painted
        pixels = (shown * 255).round().clamp(0, 255).to(torch.uint8)
        return rearrange(pixels, "(b t) c h w -> b t h w c", b=latents.shape[0]), None

    @torch.no_grad()
    def round_trip(self, latents: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Return the posterior mean of the painted stack, in floats."""
        painted = self.paint(rearrange(latents, "b 1 d -> b d"))
        return rearrange(self._posterior_of_floats(painted)[0], "b d -> b 1 d")

    def _posterior_of_floats(
        self, stacks: Float[Tensor, "r c h w"]
    ) -> tuple[Float[Tensor, "r d"], Float[Tensor, "r d"]]:
        features = self.encoder(stacks.contiguous(memory_format=torch.channels_last)).flatten(1)
        mean, log_variance = self.mean(features), self.log_variance(features)
        if self.components is not None:
            mean = mean + self.components.read(stacks.flatten(1))
            log_variance = log_variance + self.components.log_variance
        return mean, log_variance


class Components(nn.Module):
    """The best linear V, known in closed form (Tipping & Bishop 1999, section 3.2).

    With eigenvalues L of the pixels' covariance, eigenvectors U and pixel variance p², the
    latent's posterior is normal with mean L^-1 (L - p²)^(1/2) U' x and variance p² / L. Where x is
    blurred, the painted picture is not: it is the best linear guess from the latent.
    """

    centre: Tensor
    readers: Tensor
    painters: Tensor
    log_variance: Tensor

    def __init__(self, config: VaeConfig) -> None:
        """Begin with components that read and paint nothing."""
        super().__init__()
        self.config = config
        num_pixels = config.in_channels * config.frame_px**2
        self.register_buffer("centre", torch.zeros(num_pixels))
        self.register_buffer("readers", torch.zeros(config.latent_channels, num_pixels))
        self.register_buffer("painters", torch.zeros(config.latent_channels, num_pixels))
        self.register_buffer("log_variance", torch.zeros(config.latent_channels))

    @torch.no_grad()
    def fit(self, pixels: Float[Tensor, "r x"], *, seed: int) -> None:
        """Decompose the pixels of many stacks."""
        num_latents, variance = len(self.readers), self.config.component_std**2
        if len(pixels) <= num_latents:
            raise ShapeError(
                f"{num_latents} components need more than {num_latents} stacks, got "
                f"{len(pixels)}. Collect more frames."
            )
        self.centre.copy_(pixels.mean(dim=0))
        centred = pixels - self.centre
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            _, lengths, vectors = torch.svd_lowrank(self._blurred(centred), q=num_latents)
        # What varies less than the pixel model's noise says nothing.
        eigenvalues = (lengths.square() / len(pixels)).clamp_min(variance)
        scales = (eigenvalues - variance).sqrt() / eigenvalues
        self.readers.copy_(self._blurred(vectors.T) * scales[:, None])
        self.painters.copy_(self.read(pixels).T @ centred / len(pixels))
        self.log_variance.copy_(torch.log(variance / eigenvalues))

    def read(self, pixels: Float[Tensor, "r x"]) -> Float[Tensor, "r d"]:
        """Return the mean of the posterior."""
        return (pixels - self.centre) @ self.readers.T

    def paint(self, latents: Float[Tensor, "r d"]) -> Float[Tensor, "r x"]:
        """Return the painted pixels."""
        return self.centre + latents @ self.painters

    def _blurred(self, pixels: Float[Tensor, "r x"]) -> Float[Tensor, "r x"]:
        if not self.config.component_blur_px:
            return pixels
        places = torch.arange(self.config.frame_px, device=pixels.device, dtype=pixels.dtype)
        away = (places[:, None] - places) / self.config.component_blur_px
        kernel = torch.exp(-0.5 * away.square())
        rows = rearrange(pixels, "r (l w) -> r l w", w=self.config.frame_px)
        return rearrange(rows @ (kernel / kernel.sum(dim=1).max()), "r l w -> r (l w)")


def _make_encoder(config: VaeConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    width = config.in_channels
    for kernel, channels in zip(config.encoder_kernels, config.encoder_channels, strict=True):
        layers += [nn.Conv2d(width, channels, kernel, STRIDE), ACTIVATIONS[config.activation]()]
        width = channels
    return nn.Sequential(*layers)


def _make_decoder(config: VaeConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    outputs = (*config.decoder_channels[1:], config.in_channels)
    pairs = zip(config.decoder_channels, outputs, strict=True)
    for kernel, (width, channels) in zip(config.decoder_kernels, pairs, strict=True):
        layers += [
            nn.ConvTranspose2d(width, channels, kernel, STRIDE),
            ACTIVATIONS[config.activation](),
        ]
    return nn.Sequential(*layers[:-1])
