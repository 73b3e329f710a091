"""Who writes checkpoints: rank 0 alone, or all ranks in slices and in the background."""

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from reverie.parallel.checkpoint import CheckpointFolder, Snapshot
from reverie.parallel.ranks import Ranks
from reverie.parallel.slices import SLICES, begin_slices


@dataclass(slots=True, eq=False)
class _Begun:
    """A checkpoint that is being written."""

    snapshot: Snapshot
    temporary: Path
    written: "Future[Any]"


class CheckpointWriter:
    """Saves snapshots into a folder; every rank has one and calls its methods together."""

    def __init__(self, folder: CheckpointFolder, ranks: Ranks, *, in_slices: bool) -> None:
        """Prepare.

        Args:
            folder: Where.
            ranks: This process among the others.
            in_slices: Weights are sharded: each rank writes its slices while training goes on.
        """
        self._folder, self._ranks = folder, ranks
        # The background thread talks to other ranks while the training does: a group of its own.
        self._group: Any = dist.new_group(backend="gloo") if in_slices else None
        self._begun: _Begun | None = None

    def save(self, snapshot: Snapshot) -> Path | None:
        """Save, or begin to; return the folder if the checkpoint is on the disk already."""
        ranks = self._ranks
        if self._group is None:
            saved = self._folder.save(snapshot) if ranks.is_main else None
            ranks.wait()
            return saved
        assert self._begun is None, "finish() comes before the next save()"
        if ranks.agree(ranks.is_main and self._folder.find(snapshot.step) is not None)[0]:
            return self._folder.find(snapshot.step)
        temporary = self._folder.path / f".step-{snapshot.step:09d}.tmp"
        if ranks.is_main:
            self._folder.begin(snapshot.step)
        ranks.wait()
        written = begin_slices(temporary / SLICES, snapshot.tensors, self._group)
        self._begun = _Begun(snapshot, temporary, written)
        return None

    def poll(self) -> Path | None:
        """Return the folder of a checkpoint that came to be whole since the last call, on rank 0.

        Only rank 0 knows when everybody has written; the others have nothing to do.
        """
        if self._begun is None or not self._ranks.is_main or not self._begun.written.done():
            return None
        return self._publish()

    def finish(self) -> Path | None:
        """Wait until what was begun is on the disk; return its folder if it was not told before."""
        if self._begun is None:
            return None
        self._begun.written.result()
        if self._ranks.is_main:
            return self._publish()
        self._begun = None
        return None

    def _publish(self) -> Path:
        assert self._begun is not None
        begun, self._begun = self._begun, None
        begun.written.result()
        return self._folder.publish(begun.snapshot, begun.temporary)
