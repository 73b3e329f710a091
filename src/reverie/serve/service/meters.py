"""What ``/metrics`` tells: requests, their duration, verdicts, sessions (Prometheus text).

With several workers the numbers of all are added up, through files that they share: the variable
``PROMETHEUS_MULTIPROC_DIR`` has to be set before ``prometheus_client`` is imported.
"""

import os
import time
from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = CONTENT_TYPE_LATEST
_BUCKETS_S = (0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.25, 0.5, 1.0, 2.5, 10.0)


class Meters:
    """The counters of one application."""

    def __init__(self, num_sessions: Callable[[], int]) -> None:
        """Begin at zero.

        Args:
            num_sessions: Says how many sessions there are.
        """
        self._registry = CollectorRegistry()
        self._num_sessions = num_sessions
        self._requests = Counter(
            "reverie_requests",
            "Requests by endpoint and status.",
            ("endpoint", "status"),
            registry=self._registry,
        )
        self._durations = Histogram(
            "reverie_request_seconds",
            "Time from a request's arrival to its answer.",
            ("endpoint",),
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._verdicts = Counter(
            "reverie_verdicts",
            "Actions that were checked, by verdict.",
            ("verdict",),
            registry=self._registry,
        )
        self._sessions = Gauge(
            "reverie_sessions",
            "Sessions that are remembered.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )

    def count(self, endpoint: str, status: int, duration_s: float) -> None:
        """Note an answered request."""
        self._requests.labels(endpoint, str(status)).inc()
        self._durations.labels(endpoint).observe(duration_s)

    def judged(self, verdict: str) -> None:
        """Note a checked action."""
        self._verdicts.labels(verdict).inc()

    def text(self) -> bytes:
        """Write everything down."""
        self._sessions.set(self._num_sessions())
        registry = self._registry
        if SHARED_FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry)


class Metered:
    """Counts what an application answers, and how long that takes."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        """Stand before an application."""
        self._app, self._meters = app, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and note its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, begun_s = 500, time.perf_counter()

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        finally:
            # Only paths of ours: what strangers ask for must not grow the table.
            endpoint = getattr(scope.get("route"), "path", "unknown")
            self._meters.count(endpoint, status, time.perf_counter() - begun_s)
