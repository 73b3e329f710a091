"""Completes an order of episodes on several processes, whatever dies in between."""

import logging
import multiprocessing
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import cast

from reverie.collect.order import CollectOrder, OrderItem, list_items
from reverie.collect.policies import EXPERT_POLICIES
from reverie.collect.worker import ItemPlayer, ItemResult, run_worker
from reverie.core.config import to_dict
from reverie.core.errors import ConfigError, ReverieError
from reverie.core.files import digest, write_json
from reverie.data.store import EpisodeStore
from reverie.envs.experts import has_expert

MAX_ATTEMPTS = 3
"""Times one episode is tried before the collection stops."""
_JOIN_TIMEOUT_S = 5.0

logger = logging.getLogger(__name__)


class CollectError(ReverieError):
    """An episode that could not be collected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectStatus:
    """How far a collection is."""

    num_ordered: int
    num_found: int
    """Episodes of the order that the store held before."""
    num_collected: int = 0
    num_frames: int = 0
    """Frames collected by this call."""
    num_restarts: int = 0
    """Workers that died and were replaced."""
    seconds: float = 0.0

    @property
    def num_done(self) -> int:
        """Episodes of the order that are stored."""
        return self.num_found + self.num_collected

    @property
    def frames_per_s(self) -> float:
        """Frames per second of wall time, all workers together."""
        return self.num_frames / self.seconds if self.seconds > 0 else 0.0


Progress = Callable[[CollectStatus], None]
"""Called at the start and after every episode."""


def collect(
    order: CollectOrder,
    store_path: Path | str,
    *,
    num_workers: int = 0,
    progress: Progress | None = None,
) -> CollectStatus:
    """Collect the episodes of an order that the store does not hold yet.

    Killing workers or this process loses at most the episodes in flight; the same call again
    completes the order, and nothing is ever listed twice.

    Args:
        order: What to collect.
        store_path: Made if it is not there; an existing store must have the order's frames.
        num_workers: Processes; 0 plays in this one.
        progress: Told how far it is.

    Raises:
        CollectError: An episode failed, or killed its worker, several times.
        ConfigError: A behaviour lacks its expert, or the number of processes cannot be.
    """
    if num_workers < 0:
        raise ConfigError(
            f"The number of worker processes must be 0 (play in this one) or more, got "
            f"{num_workers}. Try 2."
        )
    _check_experts(order)
    store = EpisodeStore.open_or_create(store_path, order.frame, order.codec)
    _keep_order(store, order)
    items = list_items(order)
    todo = deque(item for item in items if item.id not in store)
    tally = _Tally(CollectStatus(num_ordered=len(items), num_found=len(items) - len(todo)))
    tally.tell(progress)
    if num_workers == 0:
        player = ItemPlayer(store)
        try:
            while todo:
                _settle(player.play(todo[0]), todo, tally)
                tally.tell(progress)
        finally:
            player.close()
        return tally.status
    with _crew(store.path, min(num_workers, len(todo))) as crew:
        _collect_with(crew, todo, store, tally, progress)
    return tally.status


@dataclass(kw_only=True, slots=True, eq=False)
class _Worker:
    process: SpawnProcess
    connection: Connection
    item: OrderItem | None = None


class _Tally:
    """Counts what was done, and how often each episode failed."""

    def __init__(self, status: CollectStatus) -> None:
        self.status = status
        self._failures: dict[str, int] = {}
        self._started = time.perf_counter()

    def tell(self, progress: Progress | None) -> None:
        self.status = replace(self.status, seconds=time.perf_counter() - self._started)
        if progress is not None:
            progress(self.status)

    def add(self, num_frames: int) -> None:
        self.status = replace(
            self.status,
            num_collected=self.status.num_collected + 1,
            num_frames=self.status.num_frames + num_frames,
        )

    def add_restart(self) -> None:
        self.status = replace(self.status, num_restarts=self.status.num_restarts + 1)

    def add_failure(self, item: OrderItem, reason: str) -> None:
        count = self._failures[item.id] = self._failures.get(item.id, 0) + 1
        logger.warning("Episode '%s' failed (%d of %d).", item.id, count, MAX_ATTEMPTS)
        if count >= MAX_ATTEMPTS:
            raise CollectError(
                f"Episode '{item.id}' failed {count} times; the last time: {reason} What is "
                f"stored stays. Try its task alone with 'reverie tasks check {item.task}'."
            )


def _collect_with(
    crew: list[_Worker],
    todo: deque[OrderItem],
    store: EpisodeStore,
    tally: _Tally,
    progress: Progress | None,
) -> None:
    for worker in crew:
        _give_next(worker, todo)
    while any(worker.item for worker in crew):
        # The end of a process is waited for too: a child that a simulator started may hold the pipe
        # open after its worker is gone.
        busy: dict[object, _Worker] = {}
        for worker in crew:
            if worker.item is not None:
                busy |= {worker.connection: worker, worker.process.sentinel: worker}
        for ready in wait(cast("list[Connection | int]", list(busy))):
            worker = busy[ready]
            item = worker.item
            if item is None:  # settled in this round, by the other of its two handles
                continue
            try:
                result = _receive(worker)
            except (EOFError, ConnectionError):
                _replace_dead(worker, store, tally, todo)
            else:
                todo.appendleft(item)
                _settle(result, todo, tally)
            worker.item = None
            tally.tell(progress)
        for worker in crew:
            if worker.item is None:
                _give_next(worker, todo)


def _receive(worker: _Worker) -> ItemResult:
    if not worker.connection.poll():
        raise EOFError("the process ended without a word")
    return worker.connection.recv()


def _settle(result: ItemResult, todo: deque[OrderItem], tally: _Tally) -> None:
    """Take a played episode off the front of the list, or leave it there for another try."""
    if result.error is not None:
        raise result.error
    if result.trace:
        tally.add_failure(result.item, result.trace.strip().splitlines()[-1])
        return
    todo.popleft()
    tally.add(result.num_frames)


def _replace_dead(
    worker: _Worker, store: EpisodeStore, tally: _Tally, todo: deque[OrderItem]
) -> None:
    item = worker.item
    assert item is not None, "only busy workers are waited for"
    worker.connection.close()
    worker.process.join()
    code = worker.process.exitcode
    fresh = _start_worker(store.path)
    worker.process, worker.connection = fresh.process, fresh.connection
    tally.add_restart()
    store.refresh()
    if item.id in store:
        # It died between storing the episode and saying so.
        tally.add(store.entry(item.id).num_frames)
        return
    tally.add_failure(item, f"its process died with exit code {code}.")
    todo.append(item)


def _give_next(worker: _Worker, todo: deque[OrderItem]) -> None:
    if not todo:
        return
    worker.item = todo.popleft()
    try:
        worker.connection.send(worker.item)
    except ConnectionError:
        logger.debug("A worker died while idle; its end of the pipe will say so.")


@contextmanager
def _crew(store_path: Path, num_workers: int) -> Iterator[list[_Worker]]:
    crew = [_start_worker(store_path) for _ in range(num_workers)]
    try:
        yield crew
    finally:
        for worker in crew:
            worker.process.terminate()
            worker.connection.close()
        for worker in crew:
            worker.process.join(_JOIN_TIMEOUT_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


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


def _check_experts(order: CollectOrder) -> None:
    """Refuse at once what would otherwise fail in the middle of the order."""
    needy = [name for name in order.policies if name in EXPERT_POLICIES]
    lacking = [task for task in order.tasks if needy and not has_expert(task)]
    if lacking:
        raise ConfigError(
            f"{', '.join(needy)} needs an expert, and there is none for {', '.join(lacking)}. "
            f"Collect these tasks with random, noop, noise-gaussian or noise-ou."
        )


def _keep_order(store: EpisodeStore, order: CollectOrder) -> None:
    """Write the order into the store, so that its data can be collected again from nothing."""
    content = to_dict(order)
    name = digest(str(content).encode())[:16]
    write_json(store.path / "orders" / f"{name}.json", content)
