"""Workers that are processes of this machine."""

import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import cast

from reverie.collect.crew import PATIENCE_S, Lost, hung_reason
from reverie.collect.order import OrderItem
from reverie.collect.worker import ItemResult, run_worker

_JOIN_TIMEOUT_S = 5.0

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True, eq=False)
class _Worker:
    process: SpawnProcess
    connection: Connection
    item: OrderItem | None = None
    deadline: float = 0.0


class ProcessCrew:
    """Spawned processes, one simulator each; all end with this one, however it ends."""

    def __init__(
        self, store_path: Path, num_workers: int, *, patience_s: float = PATIENCE_S
    ) -> None:
        """Start the processes.

        Args:
            store_path: Where they store episodes.
            num_workers: How many.
            patience_s: Time for one episode; then its process is replaced.
        """
        self._store_path = store_path
        self._patience_s = patience_s
        self._workers = [_start_worker(store_path) for _ in range(num_workers)]

    @property
    def num_idle(self) -> int:
        """How many processes wait for an episode."""
        return len(self._workers) - self.num_busy

    @property
    def num_busy(self) -> int:
        """How many processes are at one."""
        return sum(worker.item is not None for worker in self._workers)

    def give(self, item: OrderItem) -> None:
        """Let an idle process play an episode."""
        worker = next(worker for worker in self._workers if worker.item is None)
        worker.item, worker.deadline = item, time.monotonic() + self._patience_s
        try:
            worker.connection.send(item)
        except ConnectionError:
            logger.debug("A worker died while idle; its end of the pipe will say so.")

    def wait(self) -> Sequence[ItemResult | Lost]:
        """Wait for results, ends of processes, and the end of patience."""
        # The end of a process is waited for too: a child that a simulator started may hold the pipe
        # open after its worker is gone.
        busy: dict[object, _Worker] = {}
        for worker in self._workers:
            if worker.item is not None:
                busy |= {worker.connection: worker, worker.process.sentinel: worker}
        left_s = min(worker.deadline for worker in busy.values()) - time.monotonic()
        ready = wait(cast("list[Connection | int]", list(busy)), max(left_s, 0.0))
        if not ready:
            return [self._end_hung(worker) for worker in self._overdue()]
        answers: list[ItemResult | Lost] = []
        for worker in map(busy.__getitem__, ready):
            if worker.item is not None:  # else settled just now, by the other of its two handles
                answers.append(self._answer_of(worker, worker.item))
        return answers

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.process.terminate()
            worker.connection.close()
        for worker in self._workers:
            worker.process.join(_JOIN_TIMEOUT_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def _answer_of(self, worker: _Worker, item: OrderItem) -> ItemResult | Lost:
        worker.item = None
        try:
            return _receive(worker)
        except (EOFError, ConnectionError):
            code = self._replace(worker)
            return Lost(item=item, reason=f"its process died with exit code {code}.")

    def _overdue(self) -> list[_Worker]:
        now = time.monotonic()
        return [w for w in self._workers if w.item is not None and w.deadline <= now]

    def _end_hung(self, worker: _Worker) -> Lost:
        item, worker.item = worker.item, None
        assert item is not None, "only busy workers are overdue"
        worker.process.kill()
        self._replace(worker)
        return Lost(item=item, reason=hung_reason(self._patience_s))

    def _replace(self, worker: _Worker) -> int | None:
        worker.connection.close()
        worker.process.join()
        code = worker.process.exitcode
        fresh = _start_worker(self._store_path)
        worker.process, worker.connection = fresh.process, fresh.connection
        return code


def _receive(worker: _Worker) -> ItemResult:
    if not worker.connection.poll():
        raise EOFError("the process ended without a word")
    return worker.connection.recv()


def _start_worker(store_path: Path) -> _Worker:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=run_worker, args=(theirs, store_path), daemon=True)
    with _interrupts_ignored():
        process.start()
    theirs.close()
    return _Worker(process=process, connection=cast("Connection", mine))


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let a process that starts here inherit that: Ctrl-C is the parent's to answer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
