"""Serving the page: bind the address, run the application, stop cleanly."""

import contextlib
import errno
import socket
import threading
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from reverie.core.errors import ConfigError, PortInUseError
from reverie.serve.app import ServeConfig, make_app
from reverie.serve.library import load_library
from reverie.serve.protocol import MAX_TEXT_BYTES

_SHUTDOWN_S = 2
"""How long open connections may take to say goodbye."""
_LAST_PORT = 65535

OnReady = Callable[[str], None]
"""Called with the address of the page once it answers."""


def serve(
    model_folders: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    open_browser: bool = True,
    on_ready: OnReady | None = None,
    config: ServeConfig = ServeConfig(),  # noqa: B008
    device: str = "cpu",
) -> None:
    """Serve models until Ctrl-C.

    Args:
        model_folders: Folders that ``models.load`` can read; each is offered by its folder's name.
        host: Address to listen on. Anything but localhost lets others on the network play.
        port: Port to listen on; 0 takes a free one.
        open_browser: Whether to open the page in the default browser.
        on_ready: Called with the page's address when it can be opened.
        config: Limits.
        device: Where the models go.

    Raises:
        PortInUseError: Something else listens there.
        CheckpointError: A folder holds no model.
    """
    with bind(host, port) as listener:
        library = load_library(
            model_folders,
            first_task=config.session.first_task,
            watches=config.watches,
            device=device,
        )
        url = page_url(host, listener.getsockname()[1])
        named = replace(config, allowed_hosts=(*config.allowed_hosts, host.lower()))
        server = make_server(make_app(library, named))
        announcer = threading.Thread(
            target=_announce, args=(server, url, open_browser, on_ready), daemon=True
        )
        announcer.start()
        # uvicorn says goodbye to all pages, then passes Ctrl-C on; it is how serving ends.
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def make_server(app: FastAPI) -> uvicorn.Server:
    """Put the application behind uvicorn, with a limit on what a socket may send at once."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            ws="websockets-sansio",
            # Room for a message that is refused with a text instead of a bare close.
            ws_max_size=4 * MAX_TEXT_BYTES,
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
    )


def bind(host: str, port: int) -> socket.socket:
    """Take an address before the models are loaded, so that a clash is told at once."""
    if not 0 <= port <= _LAST_PORT:
        raise ConfigError(f"A port lies in 0 to {_LAST_PORT}, got {port}. Try --port 8765.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        text = f"Cannot listen on {host}:{port}: {error}. Try --host 127.0.0.1."
        raise ConfigError(text) from error
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        # Two servers may bind with SO_REUSEADDR until one listens; so listen now.
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise _bind_error(error, host, port) from error
    return listener


def page_url(host: str, port: int) -> str:
    """Return the address that a browser on this machine opens."""
    name = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"


def _bind_error(error: OSError, host: str, port: int) -> Exception:
    if error.errno == errno.EADDRINUSE:
        return PortInUseError(
            f"Port {port} on {host} is in use. Stop the program that uses it, or choose another "
            f"port: --port {port + 1 if port < _LAST_PORT else 8765}"
        )
    if error.errno == errno.EACCES:
        return ConfigError(
            f"Port {port} on {host} needs more rights than you have. Choose one above 1023: "
            f"--port 8765"
        )
    return ConfigError(f"Cannot listen on {host}:{port}: {error.strerror}. Try --host 127.0.0.1.")


def wait_until_started(server: uvicorn.Server) -> bool:
    """Wait until a server answers; False if it ends before that."""
    pause = threading.Event()
    while not server.started:
        if server.should_exit:
            return False
        pause.wait(0.02)
    return True


def _announce(
    server: uvicorn.Server, url: str, open_browser: bool, on_ready: OnReady | None
) -> None:
    if not wait_until_started(server):
        return
    if on_ready is not None:
        on_ready(url)
    if open_browser:
        webbrowser.open(url)
