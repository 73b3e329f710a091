"""Multi-head attention with grouped keys, normalised queries and keys, and a bounded gain."""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from reverie.core.errors import ConfigError
from reverie.nn.quirks import NATIVE, Quirks
from reverie.nn.rope import Rotation, unit

MAX_LOGIT = 50.0
"""No attention logit can exceed this, whatever the inputs: it replaces a tanh soft-cap."""

MAX_EXPONENTIAL_GAIN = 100.0
"""Limit of the gains of published weights (see ``nn.quirks``)."""

SHORT_SEQUENCE = 64
"""Up to this many positions, attention on a CPU is written out instead of fused."""


@dataclass(frozen=True, slots=True, eq=False)
class KeysValues:
    """Normalised, unrotated keys and the values of some positions.

    With the mismatched RoPE of ``nn.quirks`` the keys are not normalised yet.
    """

    keys: Float[Tensor, "*rows p g c"]
    values: Float[Tensor, "*rows p g c"]


@dataclass(frozen=True, slots=True, eq=False)
class PastBlock:
    """Keys and values of past frames, rotated already, shared by ``group`` neighbouring rows.

    They lie as the products of ``Attention.step`` want them, since several steps read them.
    """

    keys: Float[Tensor, "r n g c p"]
    values: Float[Tensor, "r n g p c"]
    group: int
    """Rows of the query that each row of this block serves."""

    @staticmethod
    def of(
        keys: Float[Tensor, "r n p g c"], values: Float[Tensor, "r n p g c"], group: int
    ) -> "PastBlock":
        """Lay out the keys and values of ``p`` frames."""
        return PastBlock(
            keys.permute(0, 1, 3, 4, 2).contiguous(),
            values.transpose(2, 3).contiguous(),
            group,
        )


class Attention(nn.Module):
    """Grouped-query attention; logits are gain * cosine, so they never exceed the gain.

    Differs from the paper: Dreamer 4 normalises queries and keys and adds a tanh soft-cap at 50;
    here the gain itself is bounded by 50, which fused kernels can run.
    """

    def __init__(
        self, width: int, num_heads: int, num_kv_heads: int, quirks: Quirks = NATIVE
    ) -> None:
        """Make projections, by default without biases, and one learned gain per head."""
        super().__init__()
        if width % num_heads or num_heads % num_kv_heads or (width // num_heads) % 2:
            raise ConfigError(
                f"Attention needs a width divisible by the heads into an even head size and heads "
                f"divisible by KV heads, got width {width}, {num_heads} heads, {num_kv_heads} KV."
            )
        self.head_dim = width // num_heads
        self.num_heads, self.num_kv_heads, self.quirks = num_heads, num_kv_heads, quirks
        lanes = self.head_dim * (num_heads + 2 * num_kv_heads)
        self.project = nn.Linear(width, lanes, bias=quirks.has_biases)
        self.out = nn.Linear(width, width, bias=quirks.has_biases)
        start = math.sqrt(self.head_dim) / MAX_LOGIT
        first = math.log(start / (1 - start))
        if quirks.has_exponential_gains:
            first = math.log(self.head_dim) / 2
        self.gain_logit = nn.Parameter(torch.full((num_heads,), first))

    def gains(self) -> Float[Tensor, " h"]:
        """Return the largest possible logit of each head, in (0, 50)."""
        if self.quirks.has_exponential_gains:
            return self.gain_logit.exp().clamp_max(MAX_EXPONENTIAL_GAIN)
        return MAX_LOGIT * torch.sigmoid(self.gain_logit)

    def forward(
        self,
        x: Float[Tensor, "r p m"],
        rotation: Rotation,
        mask: Bool[Tensor, "*r p p"] | None = None,
    ) -> tuple[Float[Tensor, "r p m"], KeysValues]:
        """Attend among the positions of each row; True in ``mask`` means "may look at".

        Returns:
            The output, and keys (unrotated) and values for a cache.
        """
        query, key, past = self.look(x, rotation)
        mixed = attend(query, key, past.values, mask)
        return self.out(mixed.flatten(-2)), past

    def step(
        self, x: Float[Tensor, "b n m"], rotation: Rotation, past: list[PastBlock]
    ) -> tuple[Float[Tensor, "b n m"], KeysValues]:
        """Attend from one new position per token to its own past and to itself.

        Args:
            x: The new frame's tokens; each is a column of its own.
            rotation: Of the new frame's position, counted from the oldest cached one.
            past: Blocks of past frames, oldest first.
        """
        query, key, now = self.look(x[:, :, None], rotation)
        query = query[:, :, 0].unflatten(2, (self.num_kv_heads, -1))
        own = key.transpose(2, 3)
        logits = [_product(query, block.keys, block.group) for block in past]
        logits.append((query * own).sum(dim=-1, keepdim=True))
        weights = torch.softmax(torch.cat(logits, dim=-1).float(), dim=-1).to(query.dtype)
        *pieces, itself = weights.split([item.shape[-1] for item in logits], dim=-1)
        mixed = itself * now.values.transpose(2, 3)
        for piece, block in zip(pieces, past, strict=True):
            mixed = mixed + _product(piece, block.values, block.group)
        return self.out(mixed.flatten(2)), now

    def look(
        self, x: Float[Tensor, "*rows p m"], rotation: Rotation
    ) -> tuple[Float[Tensor, "*rows p h c"], Float[Tensor, "*rows p g c"], KeysValues]:
        """Return rotated queries times their gain, rotated unit keys, and what a cache keeps."""
        # Views instead of einops: thirty times a dreamed frame, its own cost would show.
        lanes = self.project(x).unflatten(-1, (-1, self.head_dim))
        pointed = self.num_heads + self.num_kv_heads
        kept = lanes[..., :pointed, :]
        if rotation.is_mismatched:
            turned = unit(rotation.turn(kept))
        else:
            kept = unit(kept)
            turned = rotation.turn(kept)
        query, key = turned[..., : self.num_heads, :], turned[..., self.num_heads :, :]
        query = (query * self.gains()[:, None]).to(lanes.dtype)
        return query, key, KeysValues(kept[..., self.num_heads :, :], lanes[..., pointed:, :])


def attend(
    query: Float[Tensor, "r p h c"],
    key: Float[Tensor, "r p g c"],
    value: Float[Tensor, "r p g c"],
    mask: Bool[Tensor, "*r p p"] | None,
) -> Float[Tensor, "r p h c"]:
    """Mix values by softmax(query . key); queries carry their scale already.

    Short sequences on a CPU are written out: there the fused kernel is three to four times slower
    than three plain operations, forward and backward.
    """
    if mask is not None and mask.ndim == 3:
        mask = mask[:, None]
    queries, keys, values = (x.transpose(1, 2) for x in (query, key, value))
    if query.device.type == "cpu" and query.shape[1] <= SHORT_SEQUENCE:
        mixed = _attend_plainly(queries, keys, values, mask)
    else:
        mixed = functional.scaled_dot_product_attention(
            queries,
            keys.to(queries.dtype),
            values.to(queries.dtype),
            attn_mask=mask,
            scale=1.0,
            enable_gqa=keys.shape[1] != queries.shape[1],
        )
    return mixed.transpose(1, 2)


def _attend_plainly(
    query: Float[Tensor, "r h p c"],
    key: Float[Tensor, "r g p c"],
    value: Float[Tensor, "r g p c"],
    mask: Bool[Tensor, "*s p p"] | None,
) -> Float[Tensor, "r h p c"]:
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = (x.repeat_interleave(repeats, dim=1) for x in (key, value))
    with torch.autocast(query.device.type, enabled=False):
        logits = query.float() @ key.float().transpose(-1, -2)
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        return (torch.softmax(logits, dim=-1) @ value.float()).to(value.dtype)


def _product(
    rows: Float[Tensor, "b n g j x"], shared: Float[Tensor, "r n g x y"], group: int
) -> Float[Tensor, "b n g j y"]:
    """Multiply each row with its block, b = r * group, without copying the block."""
    if group == 1:
        return rows @ shared
    grouped = rearrange(rows, "(r k) n g j x -> r n g (k j) x", k=group)
    return rearrange(grouped @ shared, "r n g (k j) y -> (r k) n g j y", k=group)
