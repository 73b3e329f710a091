"""A function of tensors that is recorded once and then replayed as one CUDA graph.

A forward of one frame is nine hundred small kernels. Calling them takes a GPU's host twenty times
as long as the card needs to run them (``docs/log.md``, 2026-11-28); a graph is one call.
"""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

BUDGET_BYTES = 4 * 2**30
"""Room for the inputs that recordings keep; the least recently used give way."""
CALLS_BEFORE = 12
"""A recording takes some tenths of a second: shapes that come once, while a ring fills, are not
worth it. More than the calls of a frame with eight substeps."""
_MAX_COUNTED = 1000


class Tape(Protocol):
    """What can run some work again."""

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        """Run the work.

        Returns:
            Its results, and what runs it again: it reads the same tensors, and writes over these
            results.
        """
        ...


class CudaTape:
    """Records CUDA graphs, which share one pool of memory."""

    def __init__(self) -> None:
        """Ask for nothing yet: a machine without CUDA may hold one."""
        self._pool: Any = None

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        """Capture the kernels of ``work``, after a run that lets libraries set themselves up."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            work()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on using the card meanwhile.
        mode = "thread_local"
        with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode=mode):
            results = work()
        # Capturing computes nothing.
        graph.replay()
        return results, graph.replay


@dataclass(eq=False, slots=True)
class _Recording:
    places: list[Tensor]
    """Where the recorded work reads its inputs."""
    results: Any
    replay: Callable[[], None]
    filled: list[Tensor]
    """What was last copied into each place."""
    num_bytes: int


class Recorded:
    """Calls a function of tensors by recordings, one for every set of shapes.

    The function must do the same kernels whenever shapes and plain values are the same, look at no
    number on the host, and draw nothing. Inputs and results are nested dataclasses, lists and
    tuples; a tensor that is given again as the same object counts as unchanged. Results are
    copies: the next call leaves them alone. With gradients it calls the function as it is.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        tape: Tape | None = None,
        *,
        budget_bytes: int = BUDGET_BYTES,
        calls_before: int = CALLS_BEFORE,
    ) -> None:
        """Record nothing yet.

        Args:
            function: What is called.
            tape: How it is recorded; None takes CUDA graphs.
            budget_bytes: Room for the inputs of all recordings; a call whose inputs are larger is
                not recorded.
            calls_before: Calls of the same shapes that are made plainly before one is recorded.
        """
        self._function, self._tape = function, tape or CudaTape()
        self._budget_bytes, self._calls_before = budget_bytes, calls_before
        self._calls: Counter[Hashable] = Counter()
        self._recordings: OrderedDict[Hashable, _Recording] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies begin without recordings."""
        return Recorded, (self._function,)

    @property
    def num_recordings(self) -> int:
        """Recordings that are kept."""
        return len(self._recordings)

    def __call__(self, *inputs: Any) -> Any:
        """Do what the function does."""
        if torch.is_grad_enabled():
            return self._function(*inputs)
        tensors = tensors_in(inputs)
        if sum(tensor.nbytes for tensor in tensors) > self._budget_bytes:
            return self._function(*inputs)
        key = (_signature(inputs), _precision(tensors))
        with self._lock:
            if key in self._recordings:
                recording = self._recordings[key]
                self._recordings.move_to_end(key)
                _fill(recording, tensors)
                recording.replay()
            elif self._is_rare(key):
                return self._function(*inputs)
            else:
                recording = self._record(inputs, tensors)
                self._make_room(recording.num_bytes)
                self._recordings[key] = recording
            return map_tensors(recording.results, torch.clone)

    def _is_rare(self, key: Hashable) -> bool:
        if len(self._calls) > _MAX_COUNTED:
            self._calls.clear()
        self._calls[key] += 1
        return self._calls[key] <= self._calls_before

    def _record(self, inputs: tuple[Any, ...], tensors: list[Tensor]) -> _Recording:
        # Tensors made in inference mode could not be written to outside of it.
        with torch.inference_mode(False):
            kept = map_tensors(inputs, torch.empty_like)
        places = tensors_in(kept)
        for place, tensor in zip(places, tensors, strict=True):
            place.copy_(tensor)
        with _uncached_autocast(tensors):
            results, replay = self._tape.record(lambda: self._function(*kept))
        num_bytes = sum(tensor.nbytes for tensor in tensors)
        return _Recording(places, results, replay, tensors, num_bytes)

    def _make_room(self, num_bytes: int) -> None:
        used = sum(recording.num_bytes for recording in self._recordings.values())
        while used + num_bytes > self._budget_bytes:
            _, oldest = self._recordings.popitem(last=False)
            used -= oldest.num_bytes


def _fill(recording: _Recording, tensors: list[Tensor]) -> None:
    for place, filled, tensor in zip(recording.places, recording.filled, tensors, strict=True):
        if tensor is not filled:
            place.copy_(tensor)
    recording.filled = tensors


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a value with every tensor changed; plain values stay."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(part, change) for part in value)
    if _is_nested(value):
        changed = (map_tensors(part, change) for part in _parts(value))
        names = (item.name for item in fields(value))
        return replace(value, **dict(zip(names, changed, strict=True)))
    return value


def tensors_in(value: Any) -> list[Tensor]:
    """Return every tensor of nested values, in order."""
    if isinstance(value, Tensor):
        return [value]
    return [tensor for part in _parts(value) for tensor in tensors_in(part)]


def _signature(value: Any) -> Hashable:
    """Return all that decides which kernels run."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype, value.device
    if _is_nested(value):
        return type(value), tuple(_signature(part) for part in _parts(value))
    return value


def _is_nested(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (is_dataclass(value) and not isinstance(value, type))


def _parts(value: Any) -> list[Any]:
    """Return what a list, tuple or dataclass holds; a plain value holds nothing."""
    if isinstance(value, (list, tuple)):
        return list(value)
    return [getattr(value, item.name) for item in fields(value)] if _is_nested(value) else []


def _precision(tensors: list[Tensor]) -> tuple[bool, torch.dtype]:
    kind = tensors[0].device.type
    return torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)


def _uncached_autocast(tensors: list[Tensor]) -> AbstractContextManager[Any]:
    """Cast weights inside of the recording: those that autocast keeps would be gone later."""
    is_on, dtype = _precision(tensors)
    if not is_on:
        return nullcontext()
    return torch.autocast(tensors[0].device.type, dtype, cache_enabled=False)
