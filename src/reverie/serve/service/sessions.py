"""Sessions: the newest frames of some episodes, bounded in number, size and age."""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

from reverie.core.errors import ReverieError
from reverie.serve.service.window import Track

Clock = Callable[[], float]
_ID_BYTES = 16


class UnknownSessionError(ReverieError):
    """No such session: never begun, ended, or forgotten."""


class TooManySessionsError(ReverieError):
    """The service remembers no further session now."""


@dataclass(slots=True, eq=False)
class _Seat:
    track: Track
    used_s: float


class Sessions:
    """Tracks by name. A session that is not used for ``expiry_s`` is forgotten."""

    def __init__(self, *, max_sessions: int, expiry_s: float, clock: Clock) -> None:
        """Begin empty.

        Args:
            max_sessions: Sessions that may exist at once.
            expiry_s: Seconds without a request after which one is forgotten.
            clock: Monotonic seconds.
        """
        self.expiry_s = expiry_s
        self._max_sessions, self._clock = max_sessions, clock
        self._seats: dict[str, _Seat] = {}
        self._lock = threading.Lock()

    def open(self, track: Track) -> str:
        """Begin a session and return its name, which nobody can guess.

        Raises:
            TooManySessionsError: All places are taken.
        """
        with self._lock:
            self._forget_old()
            if len(self._seats) >= self._max_sessions:
                raise TooManySessionsError(
                    f"All {self._max_sessions} sessions are in use. Post windows instead, delete "
                    f"a session, or come back when one has expired ({self.expiry_s:g} s)."
                )
            name = secrets.token_urlsafe(_ID_BYTES)
            self._seats[name] = _Seat(track, self._clock())
            return name

    def track(self, name: str) -> Track:
        """Return the track of a session, whose time begins anew.

        Raises:
            UnknownSessionError: There is none of that name.
        """
        with self._lock:
            self._forget_old()
            seat = self._seats.get(name)
            if seat is None:
                raise UnknownSessionError(
                    f"There is no such session here. It ended, or was not used for "
                    f"{self.expiry_s:g} s. Begin one with POST /sessions."
                )
            seat.used_s = self._clock()
            return seat.track

    def close(self, name: str) -> None:
        """End a session.

        Raises:
            UnknownSessionError: There is none of that name.
        """
        self.track(name)
        with self._lock:
            self._seats.pop(name, None)

    def __len__(self) -> int:
        """Return how many are remembered."""
        with self._lock:
            self._forget_old()
            return len(self._seats)

    def _forget_old(self) -> None:
        oldest_s = self._clock() - self.expiry_s
        for name in [name for name, seat in self._seats.items() if seat.used_s < oldest_s]:
            del self._seats[name]
