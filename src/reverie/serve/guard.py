"""Who may talk to the server: checks of Host, Origin and pace, and headers for the browser."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

_LOCAL_NAMES = frozenset({"localhost"})


def host_name(host: str) -> str:
    """Return the name in a ``Host`` header, without port and brackets, in lower case."""
    return (urlsplit(f"//{host}").hostname or "").lower()


def is_allowed_host(host: str, allowed_hosts: tuple[str, ...] = ()) -> bool:
    """Tell whether a ``Host`` header names this server in a way that an attacker cannot fake.

    A web site can point its own name at 127.0.0.1 (DNS rebinding), but it cannot make a browser
    send ``localhost`` or an address of numbers; so those are fine, and names must be listed.
    """
    try:
        name = host_name(host)
    except ValueError:
        return False
    if name in _LOCAL_NAMES or name in allowed_hosts:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_same_origin(origin: str | None, host: str) -> bool:
    """Tell whether a WebSocket comes from a page of this very server."""
    if not origin:
        return False
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def security_headers(host: str) -> dict[str, str]:
    """Return headers that keep the page to files and sockets of this server."""
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src 'self' ws://{host} wss://{host}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }


@dataclass(slots=True)
class RateLimit:
    """A bucket that fills at ``rate_hz`` and holds ``burst`` messages."""

    rate_hz: float
    burst: float
    tokens: float
    seen_s: float

    @classmethod
    def full(cls, *, rate_hz: float, burst: float, now_s: float) -> "RateLimit":
        """Start with a full bucket."""
        return cls(rate_hz=rate_hz, burst=burst, tokens=burst, seen_s=now_s)

    def take(self, now_s: float) -> bool:
        """Take one message out; False if the bucket is empty."""
        self.tokens = min(self.burst, self.tokens + (now_s - self.seen_s) * self.rate_hz)
        self.seen_s = now_s
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True
