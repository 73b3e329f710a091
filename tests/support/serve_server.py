"""The real web server on a free port, for tests of the page."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI

from reverie.serve.server import bind, make_server, page_url

_START_TIMEOUT_S = 20.0


@contextmanager
def running_server(app: FastAPI, port: int = 0) -> Iterator[str]:
    """Serve an application in a thread; yields the page's address."""
    with bind("127.0.0.1", port) as listener:
        server = make_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        until_s = time.monotonic() + _START_TIMEOUT_S
        while not server.started:
            assert thread.is_alive(), "the server stopped while starting"
            assert time.monotonic() < until_s, "the server did not start"
            time.sleep(0.01)
        try:
            yield page_url("127.0.0.1", listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(_START_TIMEOUT_S)
            assert not thread.is_alive(), "the server did not stop"
