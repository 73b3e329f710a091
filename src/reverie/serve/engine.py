"""One owner of the device: a single thread that runs every session, fairly."""

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Protocol

from reverie.core.errors import ConfigError, ReverieError
from reverie.serve.protocol import ClientMessage, Problem, Shown, encode_frame, encode_text
from reverie.serve.session import Outgoing, Session, SessionConfig
from reverie.serve.show import Library
from reverie.serve.stage import Clock

_LOG = logging.getLogger(__name__)

_MAX_INBOX = 64
"""Messages of one page that may wait for the worker; later ones are refused."""
_IDLE_LOOK_S = 0.5
"""How often the worker looks for sessions that have been idle for too long."""
_MESSAGES_PER_TURN = 4
"""Few, so that a page that sends many costly ones does not hold up the others."""


class BusyError(ReverieError):
    """All seats are taken."""


class Receiver(Protocol):
    """Where a session's messages go; called from the worker's thread."""

    def put(self, content: str | bytes) -> None:
        """Take one encoded message."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """How many may play, and for how long without touching anything."""

    max_sessions: int = 8
    """Each costs a few megabytes and a share of the device."""
    idle_timeout_s: float = 900.0
    """A forgotten tab gives its seat back after a quarter of an hour."""

    def __post_init__(self) -> None:
        """Refuse a server at which nobody could play."""
        if self.max_sessions < 1:
            raise ConfigError(
                f"A server needs room for at least one session, got {self.max_sessions}. Try "
                f"--sessions 8."
            )


@dataclass(eq=False, slots=True)
class Seat:
    """One session at the engine."""

    session: Session
    receiver: Receiver
    touched_s: float
    """When the page last sent something."""
    served_s: float = float("-inf")
    """When the session last had a turn."""
    inbox: deque[ClientMessage] = field(default_factory=deque)


class Engine:
    """Runs all sessions on one thread, turn by turn.

    With more work than time, everybody gets fewer frames per second, equally.
    """

    def __init__(
        self,
        library: Library,
        *,
        config: EngineConfig,
        session_config: SessionConfig,
        clock: Clock = time.monotonic,
        draw_seed: Callable[[], int] = lambda: secrets.randbits(31),
    ) -> None:
        """Prepare; ``start`` begins.

        Args:
            library: The models on offer.
            config: Limits.
            session_config: How each session begins.
            clock: Seconds that never go back.
            draw_seed: Root seed of a new session.
        """
        self._library = library
        self._config = config
        self._session_config = session_config
        self._clock = clock
        self._draw_seed = draw_seed
        self._changed = Condition()
        self._seats: list[Seat] = []
        self._left: list[Seat] = []
        self._is_closing = False
        self._thread = Thread(target=self._run, name="reverie-engine", daemon=True)

    @property
    def num_sessions(self) -> int:
        """Sessions that run now."""
        return len(self._seats)

    def start(self) -> None:
        """Start the worker."""
        self._thread.start()

    def close(self) -> None:
        """Stop the worker after the frame it is at, and end all sessions."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(timeout=10.0)

    def join(self, receiver: Receiver) -> Seat:
        """Begin a session.

        Raises:
            BusyError: All seats are taken.
        """
        with self._changed:
            if len(self._seats) >= self._config.max_sessions:
                raise BusyError(
                    f"The server is busy: {len(self._seats)} of {self._config.max_sessions} "
                    f"sessions are running. Close another tab, or try again later."
                )
            session = Session(
                self._library,
                root_seed=self._draw_seed(),
                clock=self._clock,
                config=self._session_config,
            )
            seat = Seat(session=session, receiver=receiver, touched_s=self._clock())
            self._seats.append(seat)
        seat.receiver.put(encode_text(session.welcome()))
        return seat

    def post(self, seat: Seat, message: ClientMessage) -> None:
        """Hand a message to the worker; it replaces one of its kind that is the last to wait."""
        with self._changed:
            seat.touched_s = self._clock()
            if seat.inbox and type(seat.inbox[-1]) is type(message):
                seat.inbox[-1] = message
            elif len(seat.inbox) >= _MAX_INBOX:
                text = f"More than {_MAX_INBOX} messages wait; this one was dropped. Slow down."
                seat.receiver.put(encode_text(Problem(code="rate", text=text)))
            else:
                seat.inbox.append(message)
            self._changed.notify()

    def leave(self, seat: Seat) -> None:
        """End a session; its simulator is closed on the worker's thread."""
        with self._changed:
            if seat in self._seats:
                self._seats.remove(seat)
                self._left.append(seat)
            self._changed.notify()

    def _run(self) -> None:
        while self._turn():
            pass
        for seat in (*self._seats, *self._left):
            seat.session.close()
            seat.receiver.close()
        self._seats.clear()

    def _turn(self) -> bool:
        with self._changed:
            if self._is_closing:
                return False
            left, self._left = self._left, []
            self._dismiss_idle()
            seat = self._next_seat()
            messages = [] if seat is None else _take_some(seat.inbox)
            if seat is None and not left:
                self._changed.wait(self._wait_s())
                return True
        for gone in left:
            gone.session.close()
            gone.receiver.close()
        if seat is not None:
            self._serve(seat, messages)
        return True

    def _next_seat(self) -> Seat | None:
        """Choose among the seats with something to do the one that waited longest for its turn."""
        now_s = self._clock()
        waiting = [seat for seat in self._seats if seat.inbox or _is_due(seat.session, now_s)]
        return min(waiting, key=lambda seat: seat.served_s, default=None)

    def _wait_s(self) -> float:
        due = [at_s for seat in self._seats if (at_s := seat.session.due_s) is not None]
        until_s = min(due, default=float("inf")) - self._clock()
        return min(max(until_s, 0.0), _IDLE_LOOK_S)

    def _dismiss_idle(self) -> None:
        now_s, timeout_s = self._clock(), self._config.idle_timeout_s
        for seat in [seat for seat in self._seats if now_s - seat.touched_s > timeout_s]:
            text = (
                f"This session was closed after {timeout_s / 60:g} minutes without input. "
                f"Press reconnect to play on."
            )
            seat.receiver.put(encode_text(Problem(code="idle", text=text)))
            self._seats.remove(seat)
            self._left.append(seat)

    def _serve(self, seat: Seat, messages: list[ClientMessage]) -> None:
        seat.served_s = self._clock()
        try:
            outgoing = [item for message in messages for item in seat.session.handle(message)]
            outgoing += seat.session.tick(self._clock())
            contents = [_encode(item) for item in outgoing]
        except Exception:  # noqa: BLE001 - the worker must outlive a fault of one session
            _LOG.exception("A session failed and was closed.")
            text = "The session failed inside the server; its log says why. Press reconnect."
            contents = [encode_text(Problem(code="internal", text=text))]
            self.leave(seat)
        for content in contents:
            seat.receiver.put(content)


def _take_some(inbox: deque[ClientMessage]) -> list[ClientMessage]:
    return [inbox.popleft() for _ in range(min(len(inbox), _MESSAGES_PER_TURN))]


def _is_due(session: Session, now_s: float) -> bool:
    return session.due_s is not None and session.due_s <= now_s


def _encode(item: Outgoing) -> str | bytes:
    return encode_frame(item) if isinstance(item, Shown) else encode_text(item)
