"""Completes an order of episodes with several workers, whatever dies in between."""

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from reverie.collect.crew import Crew, Lost, MakeCrew
from reverie.collect.order import CollectOrder, OrderItem, list_items
from reverie.collect.policies import EXPERT_POLICIES
from reverie.collect.processes import ProcessCrew
from reverie.collect.worker import ItemPlayer, ItemResult
from reverie.core.config import to_dict
from reverie.core.errors import ConfigError, ReverieError
from reverie.core.files import digest, write_json
from reverie.data.store import EpisodeStore
from reverie.envs.experts import has_expert

MAX_ATTEMPTS = 3
"""Times one episode is tried before the collection stops."""

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
    make_crew: MakeCrew = ProcessCrew,
) -> CollectStatus:
    """Collect the episodes of an order that the store does not hold yet.

    Killing workers or this process loses at most the episodes in flight; the same call again
    completes the order, and nothing is ever listed twice.

    Args:
        order: What to collect.
        store_path: Made if it is not there; an existing one must have the order's frames.
        num_workers: How many play at once; 0 plays in this process.
        progress: Told how far it is.
        make_crew: Where the workers live: processes of this machine, or a cluster.

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
    store = EpisodeStore.open_or_create(store_path, order.frame, order.codec, order.quality)
    _keep_order(store, order)
    items = list_items(order)
    todo = deque(item for item in items if item.id not in store)
    tally = _Tally(CollectStatus(num_ordered=len(items), num_found=len(items) - len(todo)))
    tally.tell(progress)
    if num_workers == 0:
        player = ItemPlayer(store)
        try:
            while todo:
                _settle(player.play(todo.popleft()), todo, tally)
                tally.tell(progress)
        finally:
            player.close()
        return tally.status
    if todo:
        with closing(make_crew(store.path, min(num_workers, len(todo)))) as crew:
            _collect_with(crew, todo, store, tally, progress)
    return tally.status


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
    crew: Crew,
    todo: deque[OrderItem],
    store: EpisodeStore,
    tally: _Tally,
    progress: Progress | None,
) -> None:
    while todo or crew.num_busy:
        while todo and crew.num_idle:
            crew.give(todo.popleft())
        for answer in crew.wait():
            if isinstance(answer, Lost):
                _settle_lost(answer, store, todo, tally)
            else:
                _settle(answer, todo, tally)
            tally.tell(progress)


def _settle(result: ItemResult, todo: deque[OrderItem], tally: _Tally) -> None:
    """Count a played episode, or put it back for another try."""
    if result.error is not None:
        raise result.error
    if result.trace:
        tally.add_failure(result.item, result.trace.strip().splitlines()[-1])
        todo.appendleft(result.item)
        return
    tally.add(result.num_frames)


def _settle_lost(lost: Lost, store: EpisodeStore, todo: deque[OrderItem], tally: _Tally) -> None:
    tally.add_restart()
    store.refresh()
    if lost.item.id in store:
        # The worker died between storing the episode and saying so.
        tally.add(store.entry(lost.item.id).num_frames)
        return
    tally.add_failure(lost.item, lost.reason)
    todo.append(lost.item)


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
