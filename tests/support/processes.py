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


def naming(text: str) -> list[int]:
    """Return the running processes whose command line holds a text."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if text in words and is_running(int(folder.name)):
            found.append(int(folder.name))
    return found


def ended(look: Callable[[], Sequence[int]], timeout_s: float) -> bool:
    """Wait until a look finds no process any more; tell whether that came about in time."""
    deadline = time.monotonic() + timeout_s
    while look():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
