"""A process that plays one ordered episode after another and stores each. Never imports torch."""

import logging
import os
import signal
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path

from reverie.collect.order import OrderItem
from reverie.collect.policies import make_policy
from reverie.core.errors import ReverieError
from reverie.data.store import EpisodeStore
from reverie.envs.api import TaskEnv
from reverie.envs.episode import play_episode
from reverie.envs.registry import make_env

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemResult:
    """What became of one episode of the order."""

    item: OrderItem
    num_frames: int = 0
    seconds: float = 0.0
    error: ReverieError | None = None
    """The user's to mend, such as a missing extra: trying again cannot help."""
    trace: str = ""
    """Trace of any other failure; empty if the episode is stored."""


class ItemPlayer:
    """Plays ordered episodes into a store; keeps the simulator while the task stays the same."""

    def __init__(self, store: EpisodeStore) -> None:
        """Make no simulator yet."""
        self._store = store
        self._writer = store.writer()
        self._env: TaskEnv | None = None

    def play(self, item: OrderItem) -> ItemResult:
        """Play and store one episode. On return it is on disk, or the result says why not."""
        started = time.perf_counter()
        try:
            env = self._env_of(item.task)
            policy = make_policy(item.policy)
            episode = play_episode(env, policy, seed=item.seed, max_steps=item.max_steps)
            self._writer.append(episode, id=item.id)
        except ReverieError as error:
            return ItemResult(item=item, error=error)
        except Exception:  # noqa: BLE001 - the edge of a process: a simulator may raise anything
            self.close()
            return ItemResult(item=item, trace=traceback.format_exc())
        seconds = time.perf_counter() - started
        return ItemResult(item=item, num_frames=len(episode.frames), seconds=seconds)

    def close(self) -> None:
        """Release the simulator."""
        if self._env is not None:
            self._env.close()
            self._env = None

    def _env_of(self, task: str) -> TaskEnv:
        if self._env is None or self._env.spec.name != task:
            self.close()
            spec = self._store.spec
            self._env = make_env(task, frame_spec=spec.frame, quality=spec.quality)
        return self._env


def run_worker(connection: Connection, store_path: Path) -> None:
    """Play what arrives on the connection until None does, or the parent is gone."""
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Mesa draws with as many threads as there are cores, and so would every other worker.
    os.environ.setdefault("LP_NUM_THREADS", "1")
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    player = ItemPlayer(EpisodeStore.open(store_path))
    try:
        while (item := connection.recv()) is not None:
            connection.send(player.play(item))
    except (EOFError, ConnectionError):
        logger.debug("The parent is gone.")
    finally:
        player.close()


def _leave_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
