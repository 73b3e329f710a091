"""How busy each worker of a service is, for all of them to see.

Workers accept from one socket, and a client keeps its connection: whoever happens to accept most of
them stays the busiest, while another core has nothing to do. A worker that sees this asks clients
to connect anew.
"""

import contextlib
import mmap
import os
import time
from pathlib import Path

_SUFFIX = ".waiting"
_BYTES = 4
_LOOK_AGAIN_S = 1.0


class Board:
    """One number per worker, each in a small file that all workers map into their memory."""

    def __init__(self, folder: Path) -> None:
        """Put up this worker's number, 0.

        Args:
            folder: Shared by the workers of one service, and by nobody else.
        """
        self._folder, self._own_name = folder, f"{os.getpid()}{_SUFFIX}"
        self._own = _map(folder / self._own_name, is_new=True)
        self._others: list[mmap.mmap] = []
        self._looked_s = -_LOOK_AGAIN_S

    def show(self, num_waiting: int) -> None:
        """Say how many requests wait here, the one that is worked on included."""
        self._own[:] = num_waiting.to_bytes(_BYTES, "little")

    def is_outdone(self) -> bool:
        """Tell whether another worker has fewer requests waiting than this one."""
        self._look()
        own = int.from_bytes(self._own[:], "little")
        return any(int.from_bytes(other[:], "little") < own for other in self._others)

    def _look(self) -> None:
        """Find out, now and then, which other workers there are."""
        if time.monotonic() - self._looked_s < _LOOK_AGAIN_S:
            return
        self._looked_s = time.monotonic()
        for other in self._others:
            other.close()
        self._others = []
        for path in _living(self._folder):
            if path.name == self._own_name:
                continue
            # One that ends just now is not there any more.
            with contextlib.suppress(OSError, ValueError):
                self._others.append(_map(path, is_new=False))


def count_workers(folder: Path) -> int:
    """Count the living workers that have put up a number: those that serve."""
    return len(_living(folder))


def _living(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"*{_SUFFIX}") if _is_alive(int(path.stem))]


def _map(path: Path, *, is_new: bool) -> mmap.mmap:
    if is_new:
        path.write_bytes(bytes(_BYTES))
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), _BYTES)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
