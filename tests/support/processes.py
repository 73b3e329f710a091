"""Looking at processes from outside, by /proc."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path


def is_running(pid: int) -> bool:
    """Tell whether a process is there and not merely waiting to be counted as dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def using(folder: str) -> list[int]:
    """Return the running processes that name a folder, or hold a file in it open."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            files = [str(file.readlink()) for file in (process / "fd").iterdir()]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        is_user = folder in words or any(file.startswith(f"{folder}/") for file in files)
        if is_user and is_running(int(process.name)):
            found.append(int(process.name))
    return found


def ended(look: Callable[[], Sequence[int]], timeout_s: float) -> bool:
    """Wait until a look finds no process any more; tell whether that came about in time."""
    deadline = time.monotonic() + timeout_s
    while look():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
