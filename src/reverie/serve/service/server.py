"""Running the service: one process or several behind one socket, and a clean end."""

import contextlib
import os
import signal
import socket
import tempfile
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from reverie.serve.server import bind, page_url, wait_until_started
from reverie.serve.service.app import ServiceConfig, make_service
from reverie.serve.service.board import Board, count_workers
from reverie.serve.service.meters import SHARED_FOLDER
from reverie.serve.service.served import AskedPrecision, load_served_model

_SHUTDOWN_S = 10
"""How long requests that run may take to be answered once the service is told to stop."""
_WORKER_START_S = 60
"""How long a worker may take to import torch and load the model before it is replaced."""
_MAX_CONNECTIONS = 512

OnReady = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceOrder:
    """What to serve, and how; travels to the workers."""

    folder: Path
    precision: AskedPrecision = "auto"
    config: ServiceConfig = ServiceConfig()


def serve_model(
    order: ServiceOrder,
    *,
    host: str = "127.0.0.1",
    port: int = 8770,
    on_ready: OnReady | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM; requests that run are answered first.

    Args:
        order: What to serve.
        host: Address to listen on. Anything but localhost lets others on the network in.
        port: Port to listen on; 0 takes a free one.
        on_ready: Called with the address once the socket is bound and the model was loaded.

    Raises:
        PortInUseError: Something else listens there.
        CheckpointError: The folder holds no model.
    """
    with bind(host, port) as listener:
        url = page_url(host, listener.getsockname()[1])
        if order.config.num_workers == 1:
            _serve_here(order, listener, partial(_say, on_ready, url))
        else:
            # Loaded once here, so that a bad folder is one error and not one per worker.
            load_served_model(order.folder, precision=order.precision)
            _serve_there(order, listener, url, partial(_say, on_ready, url))


def make_worker(order: ServiceOrder) -> FastAPI:
    """Load the model and build the application: what every worker process begins with."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // order.config.num_workers))
    model = load_served_model(order.folder, precision=order.precision)
    is_alone = order.config.num_workers == 1
    board = None if is_alone else Board(Path(os.environ[SHARED_FOLDER]))
    return make_service(model, order.config, board)


def _serve_here(order: ServiceOrder, listener: socket.socket, ready: Callable[[], None]) -> None:
    app = make_worker(order)
    server = uvicorn.Server(_settings(lambda: app))
    announcer = threading.Thread(target=_announce, args=(server, ready), daemon=True)
    announcer.start()
    # uvicorn ends in order, then raises the signal again for whoever minded it before: nobody.
    minded = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    finally:
        signal.signal(signal.SIGTERM, minded)


def _serve_there(
    order: ServiceOrder, listener: socket.socket, url: str, ready: Callable[[], None]
) -> None:
    """Let several processes accept from one socket; a worker that dies is replaced."""
    settings = _settings(partial(make_worker, order), num_workers=order.config.num_workers)
    with tempfile.TemporaryDirectory(prefix="reverie-") as folder:
        # Workers inherit it; prometheus_client reads it when they import it.
        os.environ[SHARED_FOLDER] = folder
        try:
            supervisor = Multiprocess(settings, sockets=[listener])
            announcer = threading.Thread(
                target=_announce_there,
                args=(supervisor, url, lambda: count_workers(Path(folder)), ready),
                daemon=True,
            )
            announcer.start()
            supervisor.run()
        finally:
            del os.environ[SHARED_FOLDER]


def _settings(app: Callable[[], FastAPI], *, num_workers: int = 1) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=True,
        workers=num_workers,
        log_level="warning",
        timeout_graceful_shutdown=_SHUTDOWN_S,
        timeout_worker_healthcheck=_WORKER_START_S,
        limit_concurrency=_MAX_CONNECTIONS,
    )


def _announce(server: uvicorn.Server, ready: Callable[[], None]) -> None:
    if wait_until_started(server):
        ready()


def _announce_there(
    supervisor: Multiprocess, url: str, count: Callable[[], int], ready: Callable[[], None]
) -> None:
    """Wait until all workers serve: the first alone would be slow while the others load."""
    while not supervisor.should_exit.wait(0.1):
        if count() < supervisor.config.workers:
            continue
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}health", timeout=5):
            ready()
            return


def _say(on_ready: OnReady | None, url: str) -> None:
    if on_ready is not None:
        on_ready(url)
