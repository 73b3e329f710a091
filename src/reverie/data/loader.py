"""Batches from a store, read ahead on a thread; which ones is up to the sampler alone."""

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from jaxtyping import Float
from torch import Tensor

from reverie.core.batch import Batch
from reverie.data.latents import FrameCache, LatentCache
from reverie.data.sampling import WindowSampler
from reverie.data.store import EpisodeStore, Window
from reverie.data.windows import WindowRef, to_batch

DEFAULT_PREFETCH = 2
"""Batches read ahead: enough to hide the disk, few enough to stay small."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedBatch:
    """A batch, with cached latents where the loader has them."""

    batch: Batch
    latents: Float[Tensor, "b t n d"] | None
    refs: tuple[WindowRef, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WindowReader:
    """Where the parts of a batch come from."""

    store: EpisodeStore
    action_width: int
    latents: LatentCache | None = None
    """If given, batches carry latents."""
    frame_cache: FrameCache | None = None
    """If given, frames come from it, not from the store's strips."""
    use_frames: bool = True
    """Whether batches carry frames; turn off where latents are all that is needed."""

    def read(self, refs: Sequence[WindowRef]) -> LoadedBatch:
        """Read the given windows."""
        windows = [self._window(ref) for ref in refs]
        return LoadedBatch(
            batch=to_batch(windows, action_width=self.action_width),
            latents=None if self.latents is None else self.latents.read_batch(refs),
            refs=tuple(refs),
        )

    def _window(self, ref: WindowRef) -> Window:
        if self.frame_cache is None or not self.use_frames:
            return self.store.read_window(*ref, with_frames=self.use_frames)
        window = self.store.read_window(*ref, with_frames=False)
        return replace(window, frames=self.frame_cache.read(ref))


class WindowLoader:
    """An endless iterator of batches; its state is the sampler's, at the last batch given out."""

    def __init__(
        self, reader: WindowReader, sampler: WindowSampler, *, num_prefetch: int = DEFAULT_PREFETCH
    ) -> None:
        """Start nothing yet: the first ``next`` starts the reading thread.

        Args:
            reader: Reads windows.
            sampler: Says which; its step moves on when a batch is given out, not when it is read.
            num_prefetch: Batches read ahead; 0 reads on the calling thread.
        """
        self._reader = reader
        self._sampler = sampler
        self._num_prefetch = num_prefetch
        self._ahead: _ReadAhead | None = None

    def __iter__(self) -> Iterator[LoadedBatch]:
        """Return the loader itself."""
        return self

    def __next__(self) -> LoadedBatch:
        """Return the next batch."""
        if self._num_prefetch == 0:
            return self._reader.read(self._sampler.next_batch())
        if self._ahead is None:
            self._ahead = _ReadAhead(
                self._reader, self._sampler, self._sampler.step, self._num_prefetch
            )
        loaded = self._ahead.take()
        self._sampler.next_batch()
        return loaded

    def __enter__(self) -> Self:
        """Return the loader itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the reading thread."""
        self.close()

    def close(self) -> None:
        """Stop the reading thread; the next ``next`` starts another."""
        if self._ahead is not None:
            self._ahead.stop()
            self._ahead = None

    def state_dict(self) -> dict[str, Any]:
        """Return the sampler's state after the last batch given out."""
        return self._sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state; batches read ahead are dropped."""
        self.close()
        self._sampler.load_state_dict(state)


class _ReadAhead:
    """A thread that reads the batches of steps ``first``, ``first + 1``, … into a short queue."""

    def __init__(
        self, reader: WindowReader, sampler: WindowSampler, first: int, capacity: int
    ) -> None:
        self._queue: queue.Queue[LoadedBatch | BaseException] = queue.Queue(capacity)
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(reader, sampler, first), name="read-ahead", daemon=True
        )
        self._thread.start()

    def take(self) -> LoadedBatch:
        item = self._queue.get()
        if isinstance(item, BaseException):
            self._put(item)
            raise item
        return item

    def stop(self) -> None:
        self._is_stopped.set()
        self._thread.join()

    def _run(self, reader: WindowReader, sampler: WindowSampler, step: int) -> None:
        try:
            while not self._is_stopped.is_set():
                self._put(reader.read(sampler.draw(step)))
                step += 1
        except Exception as error:  # noqa: BLE001 - the edge of a thread: handed to the caller
            self._put(error)

    def _put(self, item: LoadedBatch | BaseException) -> None:
        while not self._is_stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return
