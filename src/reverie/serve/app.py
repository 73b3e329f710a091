"""The web application: static files, a little JSON, one WebSocket per player."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

import reverie
from reverie.core.config import to_dict
from reverie.serve.engine import BusyError, Engine, EngineConfig, Seat
from reverie.serve.gate import add_guard, host_text
from reverie.serve.guard import RateLimit, is_allowed_host, is_same_origin
from reverie.serve.outbox import Outbox
from reverie.serve.protocol import (
    MAX_TEXT_BYTES,
    Problem,
    ProtocolError,
    encode_text,
    parse_client_message,
)
from reverie.serve.schema import STATIC, message_schema
from reverie.serve.session import SessionConfig
from reverie.serve.show import Library

CLOSE_REFUSED = 4403
CLOSE_BUSY = 4429
CLOSE_ENDED = 4408
CLOSE_TOO_BIG = 1009
CLOSE_TOO_FAST = 1008


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeConfig:
    """Limits of the server."""

    engine: EngineConfig = dataclass_field(default_factory=EngineConfig)
    session: SessionConfig = dataclass_field(default_factory=SessionConfig)
    max_messages_hz: float = 120.0
    """A page sends at most one action per screen refresh; this leaves room for a second hand."""
    message_burst: float = 240.0
    """Messages that may come at once before the pace counts."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names, beside localhost and addresses, under which people reach the server."""
    watches: bool = True
    """Whether models with a calibration show its probability; it costs three more dreams."""


def make_app(library: Library, config: ServeConfig = ServeConfig()) -> FastAPI:  # noqa: B008
    """Build the application around the models on offer; its life starts and stops the engine."""
    engine = Engine(library, config=config.engine, session_config=config.session)

    @contextlib.asynccontextmanager
    async def live(_: FastAPI) -> AsyncIterator[None]:
        engine.start()
        try:
            yield
        finally:
            await asyncio.to_thread(engine.close)

    app = FastAPI(lifespan=live, docs_url=None, redoc_url=None, openapi_url=None)
    add_guard(app, config.allowed_hosts)
    _add_pages(app, library, engine)
    _add_socket(app, engine, config)
    return app


def _add_pages(app: FastAPI, library: Library, engine: Engine) -> None:
    @app.get("/")
    async def index() -> FileResponse:
        return FileResponse(STATIC / "index.html", media_type="text/html")

    @app.get("/schema.json")
    async def schema() -> JSONResponse:
        return JSONResponse(message_schema())

    @app.get("/api/models")
    async def models() -> JSONResponse:
        return JSONResponse([to_dict(show.card()) for show in library.values()])

    @app.get("/api/health")
    async def health() -> dict[str, Any]:
        return {"ok": True, "version": reverie.__version__, "sessions": engine.num_sessions}

    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def _add_socket(app: FastAPI, engine: Engine, config: ServeConfig) -> None:
    @app.websocket("/ws")
    async def play(socket: WebSocket) -> None:
        await socket.accept()
        refusal = _refusal(socket, config)
        if refusal is not None:
            await _say_and_close(socket, Problem(code="refused", text=refusal), CLOSE_REFUSED)
            return
        outbox = Outbox(asyncio.get_running_loop())
        try:
            seat = engine.join(outbox)
        except BusyError as error:
            await _say_and_close(socket, Problem(code="busy", text=str(error)), CLOSE_BUSY)
            return
        sender = asyncio.create_task(_send(socket, outbox))
        try:
            await _receive(socket, engine, seat, config)
        finally:
            engine.leave(seat)
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sender


def _refusal(socket: WebSocket, config: ServeConfig) -> str | None:
    host = socket.headers.get("host", "")
    if not is_allowed_host(host, config.allowed_hosts):
        return host_text(host)
    origin = socket.headers.get("origin")
    if not is_same_origin(origin, host):
        return (
            f"A connection from the origin {origin!r} is refused; only pages of this server "
            f"(http://{host}) may play. Open that address instead."
        )
    return None


async def _receive(socket: WebSocket, engine: Engine, seat: Seat, config: ServeConfig) -> None:
    limit = RateLimit.full(
        rate_hz=config.max_messages_hz, burst=config.message_burst, now_s=time.monotonic()
    )
    while True:
        try:
            event = await socket.receive()
        except (WebSocketDisconnect, RuntimeError):
            return
        if event["type"] == "websocket.disconnect":
            return
        text = event.get("text")
        size = len((text or "").encode()) or len(event.get("bytes") or b"")
        if size > MAX_TEXT_BYTES:
            problem = f"A message may have at most {MAX_TEXT_BYTES} bytes, got {size}."
            await _say_and_close(socket, Problem(code="size", text=problem), CLOSE_TOO_BIG)
            return
        if not limit.take(time.monotonic()):
            problem = f"More than {config.max_messages_hz:g} messages per second; slow down."
            await _say_and_close(socket, Problem(code="rate", text=problem), CLOSE_TOO_FAST)
            return
        _take(text, engine, seat)


def _take(text: str | None, engine: Engine, seat: Seat) -> None:
    try:
        if text is None:
            raise ProtocolError("A page sends text messages; a binary one was dropped.")
        engine.post(seat, parse_client_message(text))
    except ProtocolError as error:
        seat.receiver.put(encode_text(Problem(code="message", text=str(error))))


async def _send(socket: WebSocket, outbox: Outbox) -> None:
    try:
        while (content := await outbox.get()) is not None:
            if isinstance(content, bytes):
                await socket.send_bytes(content)
            else:
                await socket.send_text(content)
        await socket.close(CLOSE_ENDED)
    except (WebSocketDisconnect, RuntimeError):
        # The page went away; the receiving side notices too and gives the seat back.
        return


async def _say_and_close(socket: WebSocket, problem: Problem, code: int) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await socket.send_text(encode_text(problem))
        await socket.close(code)
