"""What a dream remembers: a ring of recent frames, and a context that forks share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from reverie.core.errors import ShapeError, StaleStateError
from reverie.nn.attention import KeysValues, PastBlock
from reverie.nn.rope import place_keys


@dataclass(frozen=True, slots=True, eq=False)
class SharedContext:
    """Past frames that many forks read and nobody writes; time layers stacked on axis ``l``."""

    keys: Float[Tensor, "l r n p g c"]
    values: Float[Tensor, "l r n p g c"]
    group: int
    """Neighbouring rows of a dream that each row here serves."""


class Ring:
    """A fixed buffer of the frames that a dream itself has committed. Written in place."""

    def __init__(self, like: KeysValues, num_layers: int, num_slots: int) -> None:
        """Allocate ``num_slots`` frames for the rows, tokens and heads of ``like`` (b n p g c)."""
        rows, tokens, _, heads, lanes = like.keys.shape
        shape = (num_layers, rows, tokens, num_slots, heads, lanes)
        self.keys = like.keys.new_zeros(shape)
        self.values = like.values.new_zeros(shape)
        self.num_written = 0

    @property
    def num_slots(self) -> int:
        """Frames that fit."""
        return self.keys.shape[3]

    def write(self, frame: list[KeysValues]) -> None:
        """Commit one frame (axes b n 1 g c, one entry per time layer), over the oldest one."""
        slot = self.num_written % self.num_slots
        for layer, piece in enumerate(frame):
            self.keys[layer, :, :, slot] = piece.keys[:, :, 0]
            self.values[layer, :, :, slot] = piece.values[:, :, 0]
        self.num_written += 1

    def read(self, num_written: int, num_frames: int) -> tuple[Tensor, Tensor]:
        """Return keys and values of the last frames before frame ``num_written``, oldest first."""
        first = (num_written - num_frames) % self.num_slots
        num_wrapped = max(0, first + num_frames - self.num_slots)
        old, new = slice(first, first + num_frames - num_wrapped), slice(num_wrapped)
        keys, values = (
            torch.cat([ring[:, :, :, old], ring[:, :, :, new]], dim=3)
            for ring in (self.keys, self.values)
        )
        return keys, values


@dataclass(frozen=True, slots=True, eq=False)
class Cache:
    """A dream's view of its past: a value, though neighbours in time share one ring.

    With C slots and C - 1 frames needed, one slot is spare: a cache one frame old still reads
    correctly and may be forked; an older one raises.
    """

    ring: Ring
    num_own: int
    """Frames of the ring that belong to this view."""
    shared: SharedContext | None
    context: int
    """C: a frame sees itself and C - 1 frames before it."""
    is_mismatched: bool = False
    """The keys are those of a mismatched RoPE (see ``nn.rope``)."""

    @staticmethod
    def from_window(
        past: list[KeysValues], context: int, *, is_mismatched: bool = False
    ) -> "Cache":
        """Store a whole window of frames (axes b n t g c, one entry per time layer)."""
        ring = Ring(past[0], len(past), context)
        for time in range(past[0].keys.shape[2]):
            cut = slice(time, time + 1)
            ring.write([KeysValues(x.keys[:, :, cut], x.values[:, :, cut]) for x in past])
        return Cache(ring, ring.num_written, None, context, is_mismatched)

    @property
    def num_visible(self) -> tuple[int, int]:
        """Frames that the next frame sees: (of the shared context, of the ring)."""
        own = min(self.num_own, self.context - 1)
        available = 0 if self.shared is None else self.shared.keys.shape[3]
        return min(available, self.context - 1 - own), own

    def blocks(self) -> tuple[int, list[list[PastBlock]]]:
        """Return the next frame's position and, per time layer, what it looks back at.

        Positions count from the oldest visible frame, so they never exceed C - 1.
        """
        self._check_age(1)
        from_shared, from_ring = self.num_visible
        position = from_shared + from_ring
        parts: list[tuple[Tensor, Tensor, int]] = []
        if self.shared is not None and from_shared:
            keys, values = self.shared.keys, self.shared.values
            start = keys.shape[3] - from_shared
            parts.append((keys[:, :, :, start:], values[:, :, :, start:], self.shared.group))
        if from_ring:
            parts.append((*self.ring.read(self.num_own, from_ring), 1))
        layers: list[list[PastBlock]] = [[] for _ in range(self.ring.keys.shape[0])]
        offset = 0
        for keys, values, group in parts:
            places = torch.arange(offset, offset + keys.shape[3], device=keys.device)
            turned = place_keys(keys, places, is_mismatched=self.is_mismatched)
            for layer, blocks in enumerate(layers):
                blocks.append(PastBlock.of(turned[layer], values[layer], group))
            offset += keys.shape[3]
        return position, layers

    def commit(self, frame: list[KeysValues]) -> "Cache":
        """Write one frame into the ring and return the view that includes it."""
        self._check_age(0)
        self.ring.write(frame)
        return replace(self, num_own=self.num_own + 1)

    def fork(self, num_copies: int) -> "Cache":
        """Give every row ``num_copies`` successors that share this past and write their own."""
        self._check_age(1)
        keys, values = self._visible()
        return self._branch(keys, values, num_copies)

    def select(self, rows: list[int]) -> "Cache":
        """Keep the given rows, in the given order."""
        self._check_age(1)
        keys, values = self._visible()
        index = torch.tensor(rows, dtype=torch.long, device=keys.device)
        return self._branch(keys[:, index], values[:, index], 1)

    @staticmethod
    def join(caches: "Sequence[Cache]") -> "Cache":
        """Put the rows of several caches side by side; each must see equally many frames.

        Raises:
            ShapeError: Some have seen fewer frames than others.
        """
        for cache in caches:
            cache._check_age(1)
        pasts = [cache._visible() for cache in caches]
        seen = sorted({keys.shape[3] for keys, _ in pasts})
        if len(seen) > 1:
            raise ShapeError(
                f"Dreams can be joined when all look back at equally many frames, got {seen}. "
                f"Start each from a full context."
            )
        keys, values = (torch.cat(list(parts), dim=1) for parts in zip(*pasts, strict=True))
        return caches[0]._branch(keys, values, 1)

    def _branch(self, keys: Tensor, values: Tensor, group: int) -> "Cache":
        rows = keys.shape[1] * group
        empty = keys.new_zeros((rows, keys.shape[2], 1, *keys.shape[4:]))
        ring = Ring(KeysValues(empty, empty), keys.shape[0], self.ring.num_slots)
        return replace(self, ring=ring, num_own=0, shared=SharedContext(keys, values, group))

    def _visible(self) -> tuple[Tensor, Tensor]:
        from_shared, from_ring = self.num_visible
        keys, values = self.ring.read(self.num_own, from_ring)
        if self.shared is None or not from_shared:
            return keys, values
        start = self.shared.keys.shape[3] - from_shared
        pair = (self.shared.keys[:, :, :, start:], self.shared.values[:, :, :, start:])
        old = [repeat(x, "l r n p g c -> l (r k) n p g c", k=self.shared.group) for x in pair]
        return torch.cat([old[0], keys], dim=3), torch.cat([old[1], values], dim=3)

    def _check_age(self, allowed: int) -> None:
        age = self.ring.num_written - self.num_own
        if age > allowed:
            raise StaleStateError(
                f"This rollout state is {age} frame(s) behind its cache. A state steps once: "
                f"call fork() before trying a second action from it."
            )
