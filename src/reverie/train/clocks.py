"""When things beside the steps happen: every so many steps, or every so many seconds."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Clock:
    """Rings every ``every_steps`` steps, or when ``every_s`` seconds have passed since it rang."""

    def __init__(self, *, every_steps: int = 0, every_s: float = 0.0) -> None:
        """Start counting now; 0 switches a way of ringing off."""
        self._every_steps = every_steps
        self._every_s = every_s
        self._last = time.monotonic()

    def rings(self, step: int) -> bool:
        """Tell whether it rings after ``step`` steps; ringing restarts the seconds."""
        by_steps = self._every_steps > 0 and step % self._every_steps == 0
        by_time = self._every_s > 0 and time.monotonic() - self._last >= self._every_s
        if by_steps or by_time:
            self._last = time.monotonic()
        return by_steps or by_time


class StopRequest:
    """Set once a person or the system asked the process to stop."""

    def __init__(self) -> None:
        """Start unset."""
        self.name: str | None = None

    def __bool__(self) -> bool:
        """Tell whether a stop was asked for."""
        return self.name is not None


@contextmanager
def catch_stop() -> Iterator[StopRequest]:
    """Turn the first Ctrl-C or SIGTERM into a request that is answered between two steps.

    A second Ctrl-C stops at once. Outside the main thread signals are left alone: only the main
    thread may set handlers.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, frame: FrameType | None) -> None:
        request.name = signal.Signals(number).name
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
