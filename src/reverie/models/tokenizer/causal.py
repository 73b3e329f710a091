"""A block-causal transformer tokenizer with latent tokens (Dreamer 4, arXiv 2509.24527, sec. 3.1).

A frame is a list of tokens: latent tokens first, then patches. Only latent tokens look back in
time, so what a frame becomes depends on its own pixels and on the latents before it.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from reverie.core.errors import ConfigError, ShapeError
from reverie.core.types import FrameSpec
from reverie.models.api import LatentSpec
from reverie.nn.blocks import Stack, StackConfig, banded_mask
from reverie.nn.kv_cache import Cache
from reverie.nn.norm import RMSNorm

Side = Literal["encoder", "decoder"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CausalTokenizerConfig:
    """Size of the transformer tokenizer; ``models.presets`` has ready ones."""

    height_px: int
    width_px: int
    patch_px: int
    """Side of the square patches; divides both sides of the frame."""
    encoder: StackConfig
    decoder: StackConfig
    num_tokens: int
    """Latent tokens per frame."""
    latent_channels: int
    context: int
    """C: latent tokens attend to their own frame and the C - 1 frames before it."""
    max_drop: float = 0.9
    """In training each frame loses a share of its patches, drawn uniformly from [0, max_drop]."""

    def __post_init__(self) -> None:
        """Refuse sizes that cannot work."""
        if self.height_px % self.patch_px or self.width_px % self.patch_px:
            raise ConfigError(
                f"patch_px must divide both sides of the frame, got patches of {self.patch_px} px "
                f"for {self.height_px}x{self.width_px}."
            )
        if self.context < 1 or not 0 <= self.max_drop < 1:
            raise ConfigError(
                f"context must be at least 1 and max_drop in [0, 1), got {self.context} and "
                f"{self.max_drop}."
            )
        for name, stack in (("encoder", self.encoder), ("decoder", self.decoder)):
            if not stack.num_time_layers:
                raise ConfigError(
                    f"The {name} never looks back: {stack.depth} layers with time attention every "
                    f"{stack.time_every}. Lower time_every, or use the 'conv' tokenizer."
                )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.height_px // self.patch_px, self.width_px // self.patch_px

    @property
    def num_patches(self) -> int:
        """Patches per frame, row by row."""
        return math.prod(self.grid)

    @property
    def patch_dim(self) -> int:
        """Numbers in a patch."""
        return 3 * self.patch_px**2

    @property
    def num_parameters(self) -> int:
        """Parameters of the tokenizer."""
        patch, channels = self.patch_dim, self.latent_channels
        norm = channels if self.encoder.quirks.has_outer_norms else 0
        w = self.encoder.width
        encoder = patch * w + w + self.num_tokens * w + w + w * channels + channels + norm
        w = self.decoder.width
        decoder = channels * w + w + self.num_patches * w + w * patch + patch
        stacks = self.encoder.num_parameters + self.decoder.num_parameters
        return stacks + encoder + decoder


@dataclass(frozen=True, slots=True, eq=False)
class CausalState:
    """What the encoder or the decoder remembers of the frames before. A value, like a dream's."""

    side: Side
    cache: Cache

    @property
    def num_rows(self) -> int:
        """Number of videos side by side."""
        return self.cache.ring.keys.shape[1]

    def fork(self, num_copies: int) -> "CausalState":
        """Repeat every row ``num_copies`` times; the past is shared, not copied."""
        return CausalState(self.side, self.cache.fork(num_copies))

    def select(self, rows: list[int]) -> "CausalState":
        """Keep the given rows, in the given order."""
        return CausalState(self.side, self.cache.select(rows))


class CausalTokenizer(nn.Module):
    """Masked auto-encoder over frames, causal in time, bounded by RMSNorm and tanh.

    Differs from the paper: Dreamer 4 has no norm before the tanh; without it the latents saturate
    at learning rates from 1e-3 up and small moving objects are lost.
    """

    scale: Tensor

    def __init__(self, config: CausalTokenizerConfig) -> None:
        """Make a tokenizer with scale 1; call ``set_scale`` after training."""
        super().__init__()
        self.config = config
        width, back = config.encoder.width, config.decoder.width
        self.patch_in = nn.Linear(config.patch_dim, width)
        self.dropped_patch = nn.Parameter(torch.randn(width))
        self.latent_queries = nn.Parameter(torch.randn(config.num_tokens, width))
        self.encoder = Stack(config.encoder)
        self.bottleneck = nn.Linear(width, config.latent_channels)
        has_norm = config.encoder.quirks.has_outer_norms
        self.norm = RMSNorm(config.latent_channels) if has_norm else nn.Identity()
        self.latent_in = nn.Linear(config.latent_channels, back)
        self.patch_queries = nn.Parameter(torch.randn(config.num_patches, back))
        self.decoder = Stack(config.decoder)
        self.patch_out = nn.Linear(back, config.patch_dim)
        self.register_buffer("scale", torch.ones(()))
        with torch.no_grad():
            # All token types start at about the same size.
            self.patch_in.weight.normal_(std=1 / math.sqrt(config.patch_dim))
            self.latent_in.weight.normal_(std=1 / math.sqrt(config.latent_channels))

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
        return FrameSpec(height_px=self.config.height_px, width_px=self.config.width_px)

    @property
    def memory_frames(self) -> int:
        """How many recent latents decide how the newest one looks, itself included.

        Each time layer of the decoder looks ``context - 1`` frames back, and their reaches add up;
        what the last layer brings to the latent tokens comes too late for the patches to see.
        """
        config = self.config
        if config.decoder.quirks.decodes_frames_alone:
            return 1
        useful = sum(config.decoder.has_time(layer) for layer in range(config.decoder.depth - 1))
        return 1 + useful * (config.context - 1)

    def set_scale(self, std: float) -> None:
        """Set the std of raw latents over the training set; latents are divided by it."""
        self.scale.fill_(std)

    def embed(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b t n d"]:
        """Return raw latents in [-1, 1] of whole windows, before scaling, with gradients."""
        return self._embed(self._patch_tokens(self._pictures(frames)), None)[0]

    def embed_masked(
        self, frames: UInt8[Tensor, "b t h w 3"], *, rng: torch.Generator
    ) -> Float[Tensor, "b t n d"]:
        """Do what ``embed`` does with patches missing: one share per frame, drawn for each."""
        tokens = self._patch_tokens(self._pictures(frames))
        size, count = tokens.shape[:2], self.config.num_patches
        share = self.config.max_drop * torch.rand((*size, 1), generator=rng, device=rng.device)
        is_dropped = torch.rand((*size, count), generator=rng, device=rng.device) < share
        is_dropped = is_dropped.to(tokens.device)[..., None]
        return self._embed(torch.where(is_dropped, self.dropped_patch.to(tokens), tokens), None)[0]

    def paint(self, raw: Float[Tensor, "b t n d"]) -> Float[Tensor, "b t 3 h w"]:
        """Return pictures in [0, 1] of raw latents of whole windows, with gradients."""
        return self._paint(raw, None)[0]

    @torch.no_grad()
    def encode(
        self, frames: UInt8[Tensor, "b t h w 3"], state: CausalState | None = None
    ) -> tuple[Float[Tensor, "b t n d"], CausalState]:
        """Encode frames that follow those ``state`` has seen.

        Raises:
            StaleStateError: The state was continued before; fork it first.
        """
        raw, after = self._embed(self._patch_tokens(self._pictures(frames)), state)
        return raw / self.scale, after

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "b t n d"], state: CausalState | None = None
    ) -> tuple[UInt8[Tensor, "b t h w 3"], CausalState]:
        """Decode latents that follow those ``state`` has seen.

        Raises:
            StaleStateError: The state was continued before; fork it first.
        """
        pictures, after = self._paint(latents * self.scale, state)
        pixels = (pictures * 255).round().to(torch.uint8)
        return rearrange(pixels, "b t c h w -> b t h w c"), after

    @torch.no_grad()
    def round_trip(self, latents: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Return Enc(Dec(latents)) in floats, each latent as a video of one frame."""
        pictures = self.paint((latents * self.scale)[:, None])
        return self._embed(self._patch_tokens(pictures), None)[0][:, 0] / self.scale

    def _pictures(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b t 3 h w"]:
        if tuple(frames.shape[2:]) != self.frame_spec.shape:
            raise ShapeError(
                f"This tokenizer reads frames of {self.frame_spec.shape}, got "
                f"{tuple(frames.shape[2:])}. Resize the frames (area resampling) or retrain."
            )
        return rearrange(frames, "b t h w c -> b t c h w").float() / 255

    def _patch_tokens(self, pictures: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t n m"]:
        side = self.config.patch_px
        patches = rearrange(pictures, "b t c (i p) (j q) -> b t (i j) (p q c)", p=side, q=side)
        return self.patch_in(patches)

    def _embed(
        self, patches: Float[Tensor, "b t p m"], state: CausalState | None
    ) -> tuple[Float[Tensor, "b t n d"], CausalState]:
        b, t = patches.shape[:2]
        queries = repeat(self.latent_queries.to(patches), "n m -> b t n m", b=b, t=t)
        tokens = torch.cat([queries, patches], dim=2)
        is_latent = self._is_latent(tokens)
        # Latents see the whole frame, patches see patches.
        sees = is_latent[:, None] | ~is_latent[None, :]
        out, after = self._follow("encoder", tokens, sees, state)
        return torch.tanh(self.norm(self.bottleneck(out[:, :, : self.config.num_tokens]))), after

    def _paint(
        self, raw: Float[Tensor, "b t n d"], state: CausalState | None
    ) -> tuple[Float[Tensor, "b t 3 h w"], CausalState]:
        latents = self.latent_in(raw)
        b, t = latents.shape[:2]
        queries = repeat(self.patch_queries.to(latents), "n m -> b t n m", b=b, t=t)
        tokens = torch.cat([latents, queries], dim=2)
        is_latent = self._is_latent(tokens)
        # Latents see latents, patch queries see the whole frame.
        sees = ~is_latent[:, None] | is_latent[None, :]
        out, after = self._follow("decoder", tokens, sees, state)
        patches = torch.sigmoid(self.patch_out(out[:, :, self.config.num_tokens :]).float())
        rows, columns = self.config.grid
        pictures = rearrange(
            patches,
            "b t (i j) (p q c) -> b t c (i p) (j q)",
            i=rows,
            j=columns,
            p=self.config.patch_px,
            q=self.config.patch_px,
        )
        return pictures, after

    def _is_latent(self, tokens: Float[Tensor, "b t n m"]) -> Bool[Tensor, " n"]:
        return torch.arange(tokens.shape[2], device=tokens.device) < self.config.num_tokens

    def _follow(
        self,
        side: Side,
        tokens: Float[Tensor, "b t n m"],
        sees: Bool[Tensor, "n n"],
        state: CausalState | None,
    ) -> tuple[Float[Tensor, "b t n m"], CausalState]:
        stack = self.encoder if side == "encoder" else self.decoder
        count, context = self.config.num_tokens, self.config.context
        if state is None:
            band = banded_mask(tokens.shape[1], context, tokens.device)
            out, past = stack(tokens, sees, band, count)
            uneven = stack.config.quirks.has_mismatched_rope
            cache = Cache.from_window(past, context, is_mismatched=uneven)
            return out, CausalState(side, cache)
        if state.side != side or state.num_rows != tokens.shape[0]:
            raise ShapeError(
                f"The {side} continues a state of its own with as many rows as its input "
                f"({tokens.shape[0]}), got a state of the {state.side} with {state.num_rows}."
            )
        cache, pieces = state.cache, []
        for frame in tokens.unbind(dim=1):
            views = stack.look_back(frame.shape[1], sees, *cache.blocks())
            out, now = stack.step(frame, views, count)
            cache = cache.commit(now)
            pieces.append(out)
        return torch.stack(pieces, dim=1), CausalState(side, cache)
