"""Workers that are actors of Ray, on this machine or on a cluster."""

import logging
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reverie.collect.crew import PATIENCE_S, Lost, hung_reason
from reverie.collect.order import OrderItem
from reverie.collect.worker import ItemPlayer, ItemResult
from reverie.core.errors import ConfigError, ReverieError
from reverie.core.registry import require_extra
from reverie.data.store import EpisodeStore

LOCAL = "local"
"""The address that starts Ray on this machine, for this collection alone."""
OBJECT_STORE_BYTES = 80 * 2**20
"""Ray's least: episodes go to disk, only their names pass through Ray."""
_CLUSTER_TIMEOUT_S = 60.0
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Nothing is reported to anybody; accelerators are left to others."""
_END_THOSE_WHO_HOLD = """
while kill -0 "$0"; do sleep 1; done
for process in /proc/[0-9]*; do
  ls -l "$process/fd" | grep -qF "$1/" && kill -9 "${process#/proc/}"
done
rm -rf "$1"
"""

logger = logging.getLogger(__name__)


class PlayingActor:
    """One worker: a simulator and a writer of its own, in a process that Ray looks after."""

    def __init__(self, store_path: Path) -> None:
        """Open the store, which every machine of a cluster must see under the same path."""
        # Mesa draws with as many threads as there are cores, and so would every other worker.
        os.environ.setdefault("LP_NUM_THREADS", "1")
        self._player = ItemPlayer(EpisodeStore.open(store_path))

    def play(self, item: OrderItem) -> ItemResult:
        """Play and store one episode."""
        return self._player.play(item)

    def process_id(self) -> int:
        """Return the number of the process, for those who watch it."""
        return os.getpid()


class RayCrew:
    """Actors of one CPU each; those that die or hang are replaced."""

    def __init__(
        self,
        store_path: Path,
        num_workers: int,
        *,
        address: str = LOCAL,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Join a cluster, or start Ray here, and start the actors.

        Args:
            store_path: Where they store episodes; on a cluster, a folder that all machines share.
            num_workers: How many actors.
            address: ``"local"`` starts Ray here and ends it with the crew; ``"auto"`` or
                ``"host:port"`` joins a cluster that runs, and leaves it running.
            patience_s: Time for one episode; then its actor is replaced.

        Raises:
            MissingExtraError: Ray is not installed.
            ConfigError: There is no cluster at the address, or it has too few CPUs.
            ReverieError: Ray did not start.
        """
        self._ray = require_extra("ray", "ray", "to collect on a cluster")
        self._store_path = store_path.absolute()
        self._patience_s = patience_s
        self._scratch: Path | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._begin(address, num_workers)
        self._actor_class = self._ray.remote(num_cpus=1, max_restarts=0)(PlayingActor)
        self._idle: list[Any] = [self._start_actor() for _ in range(num_workers)]
        self._busy: dict[Any, tuple[Any, OrderItem, float]] = {}

    @property
    def num_idle(self) -> int:
        """How many actors wait for an episode."""
        return len(self._idle)

    @property
    def num_busy(self) -> int:
        """How many actors are at one."""
        return len(self._busy)

    @property
    def actors(self) -> Sequence[Any]:
        """The handles of all actors."""
        return [*self._idle, *(actor for actor, _, _ in self._busy.values())]

    @property
    def scratch(self) -> Path | None:
        """The folder of a Ray that was started here; None on a cluster."""
        return self._scratch

    def give(self, item: OrderItem) -> None:
        """Let an idle actor play an episode."""
        actor = self._idle.pop()
        self._busy[actor.play.remote(item)] = actor, item, time.monotonic() + self._patience_s

    def wait(self) -> Sequence[ItemResult | Lost]:
        """Wait for results, ends of actors, and the end of patience."""
        left_s = min(deadline for _, _, deadline in self._busy.values()) - time.monotonic()
        ready, _ = self._ray.wait(list(self._busy), timeout=max(left_s, 0.0))
        if ready:
            return [self._answer_of(reference) for reference in ready]
        now = time.monotonic()
        overdue = [ref for ref, (_, _, deadline) in self._busy.items() if deadline <= now]
        return [self._end_hung(reference) for reference in overdue]

    def close(self) -> None:
        """End the actors, and Ray where it was started here."""
        for actor in self.actors:
            self._ray.kill(actor)
        self._idle, self._busy = [], {}
        self._end_ray()

    def _end_ray(self) -> None:
        self._ray.shutdown()
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.wait()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _begin(self, address: str, num_workers: int) -> None:
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        quiet = {"include_dashboard": False, "logging_level": logging.ERROR, "log_to_driver": False}
        if address == LOCAL:
            self._scratch = Path(tempfile.mkdtemp(prefix="reverie-ray-"))
            self._watcher = _watch(self._scratch)
            size = {"num_cpus": num_workers, "object_store_memory": OBJECT_STORE_BYTES}
            quiet |= size | {"_temp_dir": str(self._scratch)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of changes in its own next versions
            try:
                self._ray.init(address=address, **quiet)
            except ConnectionError as error:
                raise ConfigError(
                    f"There is no Ray cluster at '{address}'. Start one with 'ray start --head', "
                    f"give --ray-address host:port, or leave it out to use this machine."
                ) from error
            except Exception as error:  # noqa: BLE001 - Ray says that it did not start by a bare one
                self._end_ray()
                raise ReverieError(
                    f"Ray did not start. Try again when the machine is less busy, or collect "
                    f"without --backend ray. Ray said: {error}"
                ) from error
        num_cpus = int(self._ray.cluster_resources().get("CPU", 0))
        if num_cpus < num_workers:
            self._end_ray()
            raise ConfigError(
                f"The Ray cluster at '{address}' has {num_cpus} CPUs for {num_workers} workers. "
                f"Ask for --workers {num_cpus} or fewer."
            )

    def _start_actor(self) -> Any:
        return self._actor_class.remote(self._store_path)

    def _answer_of(self, reference: Any) -> ItemResult | Lost:
        actor, item, _ = self._busy.pop(reference)
        try:
            result = self._ray.get(reference)
        except self._ray.exceptions.RayActorError as error:
            logger.debug("%s", error)
            self._idle.append(self._start_actor())
            return Lost(item=item, reason="its actor died.")
        self._idle.append(actor)
        return result

    def _end_hung(self, reference: Any) -> Lost:
        actor, item, _ = self._busy.pop(reference)
        self._ray.kill(actor)
        self._idle.append(self._start_actor())
        return Lost(item=item, reason=hung_reason(self._patience_s))


def _watch(scratch: Path) -> subprocess.Popen[bytes]:
    """Start a shell that ends what is left of a local Ray when this process is killed.

    Ray's own reaper leaves two of its helpers behind. They hide their arguments, but keep files in
    the folder open.
    """
    return subprocess.Popen(
        ["sh", "-c", _END_THOSE_WHO_HOLD, str(os.getpid()), str(scratch)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
