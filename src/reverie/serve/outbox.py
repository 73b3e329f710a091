"""What waits to be sent to one page: every message, but only the newest frame."""

import asyncio
from collections import deque
from threading import Lock

MAX_WAITING = 64
"""Text messages that may wait; a page that is further behind has stopped reading."""


class Outbox:
    """A bounded queue from the worker's thread to the event loop.

    A new frame takes the place of one that still waits, so a slow connection sees fewer frames
    instead of old ones. Order is kept: no frame overtakes the message that explains it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make an empty outbox, read on ``loop``."""
        self._loop = loop
        self._lock = Lock()
        self._waiting: deque[str | bytes] = deque()
        self._has_more = asyncio.Event()
        self._is_closed = False
        self.num_dropped = 0
        """Frames that were replaced before they could be sent."""

    def put(self, content: str | bytes) -> None:
        """Add a text message, or a frame (bytes); may be called from any thread."""
        with self._lock:
            if self._is_closed:
                return
            if isinstance(content, bytes):
                self._drop_frame()
            elif len(self._waiting) >= MAX_WAITING:
                self._is_closed = True
                self._waiting.clear()
            if not self._is_closed:
                self._waiting.append(content)
        self._wake()

    def close(self) -> None:
        """Let the reader finish what waits, then stop."""
        with self._lock:
            self._is_closed = True
        self._wake()

    async def get(self) -> str | bytes | None:
        """Wait for the next content; None when the outbox is closed and empty."""
        while True:
            with self._lock:
                if self._waiting:
                    return self._waiting.popleft()
                if self._is_closed:
                    return None
                self._has_more.clear()
            await self._has_more.wait()

    def _drop_frame(self) -> None:
        for content in self._waiting:
            if isinstance(content, bytes):
                self._waiting.remove(content)
                self.num_dropped += 1
                return

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._has_more.set)
