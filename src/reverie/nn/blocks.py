"""The space-time transformer layer that tokenizers and dynamics share."""

import math
from dataclasses import dataclass, fields

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from reverie.core.config import added
from reverie.core.errors import ConfigError
from reverie.nn.attention import Attention, KeysValues, PastBlock
from reverie.nn.mlp import SwiGLU, hidden_width
from reverie.nn.norm import RMSNorm
from reverie.nn.quirks import NATIVE, Quirks
from reverie.nn.rope import Rotation


@dataclass(frozen=True, kw_only=True, slots=True)
class StackConfig:
    """Size of a stack of space-time layers."""

    width: int
    depth: int
    num_heads: int
    num_kv_heads: int
    """Divides ``num_heads``; equal to it for plain attention."""
    time_every: int
    """Every how many layers there is a time attention."""
    mlp_hidden: int | None = added(None)
    """Width inside the feed-forward layers; None takes ``hidden_width(width)``."""
    quirks: Quirks = added(NATIVE)
    """What published weights do otherwise."""

    def __post_init__(self) -> None:
        """Refuse sizes that no layer can have."""
        sizes = {item.name: getattr(self, item.name) for item in fields(self)}
        sizes = {name: value for name, value in sizes.items() if isinstance(value, int)}
        small = {name: value for name, value in sizes.items() if value < 1}
        if small:
            name, value = next(iter(small.items()))
            raise ConfigError(f"{name} of a stack must be at least 1, got {value}.")
        if self.width % (2 * self.num_heads) or self.num_heads % self.num_kv_heads:
            raise ConfigError(
                f"A stack needs heads of an even size that fill its width, and KV heads that "
                f"divide the heads; got width {self.width}, num_heads {self.num_heads}, "
                f"num_kv_heads {self.num_kv_heads}. Try width {64 * self.num_heads} and "
                f"num_kv_heads {self.num_heads}."
            )

    def has_time(self, layer: int) -> bool:
        """Tell whether layer ``layer`` (from 0) attends over time."""
        return (layer + 1) % self.time_every == 0

    @property
    def hidden(self) -> int:
        """Width inside the feed-forward layers."""
        return self.mlp_hidden or hidden_width(self.width)

    @property
    def num_time_layers(self) -> int:
        """Number of layers that attend over time."""
        return self.depth // self.time_every

    @property
    def num_parameters(self) -> int:
        """Parameters of the stack, outer norms included."""
        shared = 2 * self.width * self.num_kv_heads // self.num_heads
        bias = int(self.quirks.has_biases)
        attention = (2 * self.width + shared) * (self.width + bias) + self.num_heads
        mlp = 3 * self.width * self.hidden + bias * (2 * self.hidden + self.width)
        layer = attention + mlp + 2 * self.width
        time = attention + self.width
        outer = 2 * self.width if self.quirks.has_outer_norms else 0
        return self.depth * layer + self.num_time_layers * time + outer


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """Who sees whom in a window, and where everybody stands; the same for all layers."""

    places: Rotation
    clock: Rotation
    space_mask: Bool[Tensor, "n n"] | None
    time_mask: Bool[Tensor, "*b t t"]
    num_time_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class StepViews:
    """What one new frame sees, and where it stands; the same for every forward of that frame."""

    places: Rotation
    now: Rotation
    space_mask: Bool[Tensor, "n n"] | None
    past: list[list[PastBlock]]
    """An entry per time layer."""


class Layer(nn.Module):
    """Space attention, perhaps time attention, feed-forward; each pre-normalised and added.

    Time attention touches only the first ``num_time_tokens`` tokens of a frame; the others pass
    through it unchanged (but see ``Quirks.still_tokens_add_norm``).
    """

    is_shard_unit = True

    def __init__(self, config: StackConfig, has_time: bool) -> None:
        """Make the layer; output matrices shrink with depth so that the residual stays tame."""
        super().__init__()
        self.quirks = config.quirks
        heads = (config.width, config.num_heads, config.num_kv_heads, config.quirks)
        self.space_norm, self.space = RMSNorm(config.width), Attention(*heads)
        self.time_norm = RMSNorm(config.width) if has_time else None
        self.time = Attention(*heads) if has_time else None
        self.mlp_norm = RMSNorm(config.width)
        self.mlp = SwiGLU(config.width, config.hidden, has_biases=config.quirks.has_biases)
        shrink = 1 / math.sqrt(2 * config.depth)
        outputs = [self.space.out, self.mlp.down, *([self.time.out] if self.time else [])]
        with torch.no_grad():
            for linear in outputs:
                linear.weight.mul_(shrink)

    def forward(
        self,
        x: Float[Tensor, "b t n m"],
        views: Views,
    ) -> tuple[Float[Tensor, "b t n m"], KeysValues | None]:
        """Run whole windows; also return what a cache keeps, None without time attention."""
        x, past = self.mix_space(x, views.places, views.space_mask), None
        if self.time is not None:
            x, past = self.mix_time(x, views.clock, views.time_mask, views.num_time_tokens)
        return self.feed_forward(x), past

    def mix_space(
        self, x: Float[Tensor, "b t n m"], places: Rotation, mask: Bool[Tensor, "n n"] | None
    ) -> Float[Tensor, "b t n m"]:
        """Let the tokens of each frame look at each other."""
        num_rows = x.shape[0]
        mixed, _ = self.space(self.space_norm(x.flatten(0, 1)), places, mask)
        return x + mixed.unflatten(0, (num_rows, -1))

    def mix_time(
        self,
        x: Float[Tensor, "b t n m"],
        times: Rotation,
        mask: Bool[Tensor, "*b t t"],
        num_time_tokens: int,
    ) -> tuple[Float[Tensor, "b t n m"], KeysValues]:
        """Let each token column look back in time.

        Returns:
            The tokens, and the cacheable keys and values, axes (b n t g c).
        """
        assert self.time is not None and self.time_norm is not None
        num_rows, moving = x.shape[0], x[:, :, :num_time_tokens]
        columns = rearrange(moving, "b t n m -> (b n) t m")
        if mask.ndim == 3:
            mask = mask.repeat_interleave(num_time_tokens, dim=0)
        mixed, past = self.time(self.time_norm(columns), times, mask)
        moved = moving + rearrange(mixed, "(b n) t m -> b t n m", b=num_rows)
        kept = [
            rearrange(y, "(b n) t g c -> b n t g c", b=num_rows) for y in (past.keys, past.values)
        ]
        still = self._still(x[:, :, num_time_tokens:])
        return _beside(moved, still, axis=2), KeysValues(*kept)

    def step_time(
        self, x: Float[Tensor, "b n m"], now: Rotation, past: list[PastBlock], num_time_tokens: int
    ) -> tuple[Float[Tensor, "b n m"], KeysValues]:
        """Do what ``mix_time`` does for one new frame, from a cache."""
        assert self.time is not None and self.time_norm is not None
        moving = x[:, :num_time_tokens]
        mixed, kept = self.time.step(self.time_norm(moving), now, past)
        return _beside(moving + mixed, self._still(x[:, num_time_tokens:]), axis=1), kept

    def _still(self, x: Float[Tensor, "*rows k m"]) -> Float[Tensor, "*rows k m"]:
        assert self.time_norm is not None
        return x + self.time_norm(x) if self.quirks.still_tokens_add_norm else x

    def feed_forward(self, x: Float[Tensor, "... m"]) -> Float[Tensor, "... m"]:
        """Apply the feed-forward part."""
        return x + self.mlp(self.mlp_norm(x))


class Stack(nn.Module):
    """Layers between an input norm (over all token types together) and an output norm."""

    def __init__(self, config: StackConfig) -> None:
        """Make ``config.depth`` layers."""
        super().__init__()
        self.config = config
        self.norm_in, self.norm_out = (
            RMSNorm(config.width) if config.quirks.has_outer_norms else nn.Identity()
            for _ in range(2)
        )
        self.layers = nn.ModuleList(
            Layer(config, config.has_time(index)) for index in range(config.depth)
        )

    def forward(
        self,
        x: Float[Tensor, "b t n m"],
        space_mask: Bool[Tensor, "n n"] | None,
        time_mask: Bool[Tensor, "*b t t"],
        num_time_tokens: int | None = None,
        times: Int[Tensor, " t"] | None = None,
    ) -> tuple[Float[Tensor, "b t n m"], list[KeysValues]]:
        """Run whole windows; also return what a cache keeps, one entry per time layer.

        Args:
            x: Tokens.
            space_mask: Which tokens of a frame see which; None lets all see all.
            time_mask: Which frames see which, for all rows or per row.
            num_time_tokens: How many leading tokens attend over time; None means all.
            times: Position of each frame; None counts them from 0.
        """
        count = x.shape[2] if num_time_tokens is None else num_time_tokens
        places = self._rotation(torch.arange(x.shape[2], device=x.device))
        if times is None:
            times = torch.arange(x.shape[1], device=x.device)
        clock = self._rotation(times)
        x, kept = self.norm_in(x), []
        views = Views(places, clock, space_mask, time_mask, count)
        for layer in self.layers:
            x, past = layer(x, views)
            kept += [] if past is None else [past]
        return self.norm_out(x), kept

    def look_back(
        self,
        num_tokens: int,
        space_mask: Bool[Tensor, "n n"] | None,
        position: int,
        past: list[list[PastBlock]],
    ) -> StepViews:
        """Prepare the steps of a new frame of ``num_tokens`` tokens at time ``position``.

        Args:
            num_tokens: Of the frame.
            space_mask: Which of them see which; None lets all see all.
            position: Of the frame, counted from the oldest cached one.
            past: Cached frames, an entry per time layer.
        """
        device = next(self.parameters()).device
        places = self._rotation(torch.arange(num_tokens, device=device))
        now = self._rotation(torch.tensor([position], device=device))
        return StepViews(places, now, space_mask, past)

    def step(
        self, x: Float[Tensor, "b n m"], views: StepViews, num_time_tokens: int | None = None
    ) -> tuple[Float[Tensor, "b n m"], list[KeysValues]]:
        """Run one new frame against the cached ones that ``look_back`` prepared."""
        count = x.shape[1] if num_time_tokens is None else num_time_tokens
        x, kept = self.norm_in(x), []
        for layer in self.layers:
            assert isinstance(layer, Layer)
            x = layer.mix_space(x[:, None], views.places, views.space_mask)[:, 0]
            if layer.time is not None:
                x, now = layer.step_time(x, views.now, views.past[len(kept)], count)
                kept.append(now)
            x = layer.feed_forward(x)
        return self.norm_out(x), kept

    def _rotation(self, positions: Int[Tensor, " p"]) -> Rotation:
        return Rotation.of(
            positions,
            self.config.width // self.config.num_heads,
            is_mismatched=self.config.quirks.has_mismatched_rope,
        )


def _beside(
    moved: Float[Tensor, "*rows n m"], rest: Float[Tensor, "*rows k m"], *, axis: int
) -> Float[Tensor, "*rows l m"]:
    return torch.cat([moved, rest], dim=axis) if rest.shape[axis] else moved


def banded_mask(num_frames: int, context: int, device: torch.device) -> Bool[Tensor, "t t"]:
    """Let frame t see itself and the ``context - 1`` frames before it."""
    times = torch.arange(num_frames, device=device)
    age = times[:, None] - times[None, :]
    return (age >= 0) & (age < context)
