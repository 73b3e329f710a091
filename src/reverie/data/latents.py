"""Latents of every stored frame, encoded once and kept as float16 beside the store."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from reverie.core.types import Episode
from reverie.data.rows import FrameRows, Progress, build_rows, open_rows
from reverie.data.store import EpisodeStore
from reverie.data.windows import WindowRef

Encode = Callable[[UInt8[np.ndarray, "t h w 3"]], Any]
"""Called with the frames of one whole episode, in order; returns latents (t, n, d)."""


class LatentCache:
    """What a frozen tokenizer makes of every frame; keyed by the tokenizer's hash."""

    def __init__(self, rows: FrameRows) -> None:
        """Use ``build`` or ``open``."""
        self._rows = rows

    @staticmethod
    def build(
        store: EpisodeStore,
        path: Path | str,
        encode: Encode,
        key: str,
        progress: Progress | None = None,
    ) -> "LatentCache":
        """Encode the episodes that have no latents yet; an interrupted build continues.

        Args:
            store: Whose frames are encoded.
            path: Folder of the cache.
            encode: Frames of one episode to latents of unit scale.
            key: Hash of the tokenizer. A folder made with another one is refused.
            progress: Called with frames done and frames to do.
        """

        def make(episode: Episode) -> np.ndarray:
            latents = encode(episode.frames)
            if isinstance(latents, Tensor):
                latents = latents.detach().float().cpu().numpy()
            return np.asarray(latents).astype(np.float16)

        return LatentCache(
            build_rows(Path(path), store=store, key=key, make=make, progress=progress)
        )

    @staticmethod
    def open(store: EpisodeStore, path: Path | str, key: str) -> "LatentCache":
        """Open a cache that was built with this tokenizer from this store."""
        return LatentCache(open_rows(Path(path), store=store, key=key))

    def __contains__(self, episode_id: object) -> bool:
        """Tell whether an episode is encoded."""
        return episode_id in self._rows

    def __len__(self) -> int:
        """Return the number of encoded episodes."""
        return len(self._rows)

    def read(self, ref: WindowRef) -> Float[Tensor, "t n d"]:
        """Return the latents of one window in float32."""
        rows = self._rows.read(ref.episode_id, ref.start, ref.length)
        return torch.from_numpy(rows.astype(np.float32))

    def read_batch(self, refs: Sequence[WindowRef]) -> Float[Tensor, "b t n d"]:
        """Return the latents of windows of one length."""
        return torch.stack([self.read(ref) for ref in refs])


class FrameCache:
    """Every frame of a small store, decoded once: training need not wait for a decoder."""

    def __init__(self, rows: FrameRows, store: EpisodeStore) -> None:
        """Use ``build``."""
        self._rows = rows
        self._frame_spec = store.frame_spec

    @staticmethod
    def build(
        store: EpisodeStore, path: Path | str, progress: Progress | None = None
    ) -> "FrameCache":
        """Decode what is not decoded yet; takes h·w·3 bytes of disk per frame."""
        rows = build_rows(
            Path(path), store=store, key="frames", make=lambda e: e.frames, progress=progress
        )
        return FrameCache(rows, store)

    def __len__(self) -> int:
        """Return the number of decoded episodes."""
        return len(self._rows)

    def read(self, ref: WindowRef) -> UInt8[np.ndarray, "t h w 3"]:
        """Return the frames of one window, as a read-only view."""
        return self._rows.read(ref.episode_id, ref.start, ref.length)
