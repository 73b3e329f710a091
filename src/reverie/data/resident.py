"""A whole store on one device: windows are gathered there instead of being read and copied.

A GPU takes a step of a small model in less time than a CPU needs to put its batch together. What
fits into the device's memory is therefore laid there once, frame by frame; a batch is then one
gather. The windows are the same, bit for bit, as those of ``WindowReader``.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from reverie.core.batch import Batch
from reverie.core.errors import DataError
from reverie.data.latents import FrameCache, LatentCache
from reverie.data.loader import LoadedBatch
from reverie.data.shards import EpisodeEntry
from reverie.data.store import EpisodeStore
from reverie.data.windows import WindowRef, to_batch

_LANES = ("prev_actions", "prev_rewards", "is_first", "is_terminal")


class ResidentRows:
    """One row per frame of every episode, episodes one after another."""

    def __init__(
        self,
        entries: Sequence[EpisodeEntry],
        read: Callable[[WindowRef], np.ndarray | Tensor],
        device: torch.device,
    ) -> None:
        """Lay the rows of all episodes on the device.

        Args:
            entries: Episodes, in the order in which they are laid.
            read: Returns the rows of a whole episode.
            device: Where they stay.
        """
        if not entries:
            raise DataError("There are no episodes to lay on the device. Collect some first.")
        total = sum(entry.num_frames for entry in entries)
        self._first: dict[str, int] = {}
        self._rows = torch.empty(0)
        begin = 0
        for entry in entries:
            piece = torch.as_tensor(read(WindowRef(entry.id, 0, entry.num_frames)))
            if not begin:
                self._rows = piece.new_empty((total, *piece.shape[1:]), device=device)
            self._rows[begin : begin + entry.num_frames] = piece.to(device)
            self._first[entry.id] = begin
            begin += entry.num_frames

    def places(self, refs: Sequence[WindowRef]) -> Int64[Tensor, "b t"]:
        """Return where the frames of windows of one length lie."""
        first = np.array([self._first[ref.episode_id] + ref.start for ref in refs])
        places = torch.from_numpy(first[:, None] + np.arange(refs[0].length)[None])
        return places.to(self._rows.device, non_blocking=True)

    def at(self, places: Int64[Tensor, "b t"]) -> Shaped[Tensor, "b t ..."]:
        """Return the rows at some places."""
        return self._rows[places]


class ResidentReader:
    """Does what ``WindowReader`` does without frames, from the memory of a device."""

    def __init__(
        self,
        store: EpisodeStore,
        latents: LatentCache,
        *,
        action_width: int,
        device: torch.device,
    ) -> None:
        """Lay actions, rewards, marks and latents of every episode on the device."""
        entries = store.index
        # Episodes go through the one bridge of time as a whole; a slice of one is a window.
        whole = {
            entry.id: to_batch(
                [store.read_window(entry.id, 0, entry.num_frames, with_frames=False)],
                action_width=action_width,
            )
            for entry in entries
        }
        self._lanes = {
            name: ResidentRows(entries, _lane_reader(whole, name), device) for name in _LANES
        }
        # Float16, as in the cache.
        self._latents = ResidentRows(entries, lambda ref: latents.read(ref).half(), device)
        self._row = {entry.id: row for row, entry in enumerate(entries)}
        self._task = [entry.task for entry in entries]
        self._masks = torch.cat([whole[entry.id].action_mask for entry in entries]).to(device)

    def read(self, refs: Sequence[WindowRef]) -> LoadedBatch:
        """Gather the given windows."""
        places = self._latents.places(refs)
        rows = [self._row[ref.episode_id] for ref in refs]
        lanes = {name: resident.at(places) for name, resident in self._lanes.items()}
        batch = Batch(
            frames=None,
            action_mask=self._masks[torch.tensor(rows).to(self._masks.device)],
            task=tuple(self._task[row] for row in rows),
            **lanes,
        )
        return LoadedBatch(batch=batch, latents=self._latents.at(places).float(), refs=tuple(refs))


def resident_frames(
    store: EpisodeStore, cache: FrameCache, device: torch.device
) -> Callable[[Sequence[WindowRef]], Shaped[Tensor, "b t ..."]]:
    """Lay the frames of a store on a device; returns what gathers windows of them."""
    rows = ResidentRows(store.index, lambda ref: np.array(cache.read(ref)), device)
    return lambda refs: rows.at(rows.places(refs))


def _lane_reader(whole: dict[str, Batch], name: str) -> Callable[[WindowRef], Tensor]:
    return lambda ref: getattr(whole[ref.episode_id], name)[0]
