"""The HTTP application: routes, limits, errors as one sentence, OpenAPI schema with examples."""

import asyncio
import contextlib
import json
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
from fastapi import Body, FastAPI, HTTPException, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import reverie
from reverie.core.errors import ConfigError, ReverieError
from reverie.serve.gate import BodyLimit, add_guard
from reverie.serve.service import endpoints
from reverie.serve.service.board import Board
from reverie.serve.service.inference import NoControllerError, ServedModel
from reverie.serve.service.messages import (
    ActRequest,
    ActResponse,
    EncodeRequest,
    EncodeResponse,
    HealthResponse,
    ImagineRequest,
    ImagineResponse,
    ObserveRequest,
    ProblemResponse,
    SessionRequest,
    SessionResponse,
    VerifyRequest,
    VerifyResponse,
)
from reverie.serve.service.meters import CONTENT_TYPE, Metered, Meters
from reverie.serve.service.sessions import Sessions, TooManySessionsError, UnknownSessionError
from reverie.serve.service.window import write_frame

T = TypeVar("T")

_BASE64 = 4 / 3
_BODY_SLACK_BYTES = 64 * 1024
"""Room for actions and field names beside the frames."""
_SHOWN_PROBLEMS = 3
_STATUS = (
    (NoControllerError, 409),
    (UnknownSessionError, 404),
    (TooManySessionsError, 429),
    (ReverieError, 422),
)
"""Errors of ours and what they are to a caller; the first that fits counts."""
SessionName = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]


class BusyError(ReverieError):
    """More requests wait than a worker takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceConfig:
    """Limits of one worker."""

    max_sessions: int = 256
    session_expiry_s: float = 300.0
    max_waiting: int = 64
    """Requests that may wait for the model; later ones are told to come back (429)."""
    max_body_bytes: int | None = None
    """None takes what the longest window of raw frames needs."""
    num_workers: int = 1
    """With more than one, sessions are off: they would live in one worker that a caller cannot
    choose."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names, beside localhost and addresses, under which the service is reached."""

    def __post_init__(self) -> None:
        """Refuse services that can do nothing."""
        if min(self.max_sessions, self.max_waiting, self.num_workers) < 1:
            raise ConfigError(
                f"A service needs at least one session, place and worker, got "
                f"{self.max_sessions}, {self.max_waiting} and {self.num_workers}."
            )
        if self.session_expiry_s <= 0:
            raise ConfigError(
                f"Sessions last longer than 0 s, got {self.session_expiry_s}. Try 300."
            )


class Turnstile:
    """One thread that owns the model, and a bounded queue before it; never on the event loop.

    Short calls pass before long ones: who asks for an action waits for one check at most, and not
    for those of all others.
    """

    def __init__(self, max_waiting: int, board: Board | None = None) -> None:
        """Open it.

        Args:
            max_waiting: Length of the queue.
            board: Where other workers see how long the queue is.
        """
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._max_waiting, self._num_waiting, self._board = max_waiting, 0, board
        self._short: deque[_Turn] = deque()
        self._long: deque[_Turn] = deque()

    async def run(self, call: Callable[[], T], *, is_short: bool = False) -> T:
        """Run a call when its turn comes.

        Args:
            call: What to run.
            is_short: Whether it takes so little time that nobody minds to let it pass.

        Raises:
            BusyError: Too many wait already.
        """
        if self._num_waiting >= self._max_waiting:
            raise BusyError(
                f"{self._num_waiting} requests wait already. Come back in a second, or start "
                f"more workers: --workers."
            )
        self._change(+1)
        try:
            turn = _Turn(call=call)
            (self._short if is_short else self._long).append(turn)
            # As many turns as calls; which call a turn takes is decided when it begins.
            self._pool.submit(self._serve_next)
            return await asyncio.wrap_future(turn.answer)
        finally:
            self._change(-1)

    def _serve_next(self) -> None:
        turn = self._short.popleft() if self._short else self._long.popleft()
        # Whoever does not wait any more gets no answer.
        if not turn.answer.set_running_or_notify_cancel():
            return
        try:
            answer = _infer(turn.call)
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
            turn.answer.set_exception(error)
        else:
            turn.answer.set_result(answer)

    def _change(self, number: int) -> None:
        self._num_waiting += number
        if self._board is not None:
            self._board.show(self._num_waiting)

    def close(self) -> None:
        """Let the call that runs end, and drop those that wait."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for turn in (*self._short, *self._long):
            turn.answer.cancel()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Turn:
    call: Callable[[], Any]
    answer: "Future[Any]" = field(default_factory=Future)


def _infer(call: Callable[[], T]) -> T:
    with torch.inference_mode():
        return call()


class SafeResponse(JSONResponse):
    """JSON in ASCII: a text that was cut out of a request may hold what UTF-8 cannot say."""

    def render(self, content: Any) -> bytes:
        """Encode; numbers that JSON does not have become null."""
        return json.dumps(_finite(content), separators=(",", ":")).encode("ascii")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Desk:
    """What the routes share."""

    model: ServedModel
    config: ServiceConfig
    sessions: Sessions
    turnstile: Turnstile
    meters: Meters


def make_service(
    model: ServedModel,
    config: ServiceConfig = ServiceConfig(),  # noqa: B008
    board: Board | None = None,
) -> FastAPI:
    """Build the application of one worker around a frozen model.

    Args:
        model: What is served.
        config: Limits.
        board: Where the workers of one service see each other; None where there is one.
    """
    sessions = Sessions(
        max_sessions=config.max_sessions, expiry_s=config.session_expiry_s, clock=time.monotonic
    )
    desk = Desk(
        model=model,
        config=config,
        sessions=sessions,
        turnstile=Turnstile(config.max_waiting, board),
        meters=Meters(sessions.__len__),
    )

    @contextlib.asynccontextmanager
    async def live(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.to_thread(desk.turnstile.close)

    app = FastAPI(
        lifespan=live,
        title="Reverie",
        version=reverie.__version__,
        summary=f"The world model '{model.name}', frozen.",
        docs_url=None,
        redoc_url=None,
        default_response_class=SafeResponse,
    )
    _add_errors(app)
    app.add_middleware(Metered, meters=desk.meters)
    if board is not None:
        app.add_middleware(Sharing, board=board)
    add_guard(app, config.allowed_hosts)
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes(model, config))
    _add_facts(app, desk)
    _add_model(app, desk)
    _add_sessions(app, desk)
    return app


class Sharing:
    """Lets a client connect anew, by closing its connection, where another worker is less busy."""

    def __init__(self, app: ASGIApp, board: Board) -> None:
        """Stand before an application."""
        self._app, self._board = app, board

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; its answer may be the last of its connection."""

        async def send_shared(message: Message) -> None:
            if message["type"] == "http.response.start" and self._board.is_outdone():
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._app(scope, receive, send_shared)


def max_body_bytes(model: ServedModel, config: ServiceConfig) -> int:
    """Return how large a request may be."""
    if config.max_body_bytes is not None:
        return config.max_body_bytes
    frame = math.prod(model.world.tokenizer.frame_spec.shape)
    return int(model.max_frames * frame * _BASE64) + _BODY_SLACK_BYTES


def _add_errors(app: FastAPI) -> None:
    async def say_ours(_: Request, error: Exception) -> Response:
        status = next(code for kind, code in _STATUS if isinstance(error, kind))
        return _problem(str(error), status)

    async def say_busy(_: Request, error: Exception) -> Response:
        return _problem(str(error), 429, {"Retry-After": "1"})

    async def say_invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        # The input is not repeated: it may be large, and need not be text.
        found = error.errors()
        texts = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found]
        shown = "; ".join(text[:300] for text in texts[:_SHOWN_PROBLEMS])
        more = f"; and {len(texts) - _SHOWN_PROBLEMS} more" if len(texts) > _SHOWN_PROBLEMS else ""
        return _problem(shown + more, 422)

    async def say_http(_: Request, error: Exception) -> Response:
        assert isinstance(error, StarletteHTTPException)
        headers = dict(error.headers or {})
        return _problem(str(error.detail), error.status_code, headers)

    app.add_exception_handler(ReverieError, say_ours)
    app.add_exception_handler(BusyError, say_busy)
    app.add_exception_handler(RequestValidationError, say_invalid)
    app.add_exception_handler(StarletteHTTPException, say_http)


def _add_facts(app: FastAPI, desk: Desk) -> None:
    model = desk.model

    @app.get("/health", responses=_refusals(421), summary="What is served, and that it runs.")
    async def health() -> HealthResponse:
        return HealthResponse(
            status="ok",
            version=reverie.__version__,
            model=model.name,
            family=model.family,
            tasks=list(model.world.tasks),
            action_widths=dict(model.widths),
            frame_shape=list(model.world.tokenizer.frame_spec.shape),
            max_frames=model.max_frames,
            has_controller=model.controller is not None,
            has_acceptance=model.acceptance is not None,
            precision=model.precision,
            float_layers=list(model.float_layers),
            sessions=len(desk.sessions),
            workers=desk.config.num_workers,
        )

    @app.get(
        "/metrics",
        response_class=Response,
        summary="Prometheus text, of all workers together.",
        responses={200: {"content": {"text/plain": {}}}, **_refusals(421)},
    )
    async def metrics() -> Response:
        return Response(desk.meters.text(), media_type=CONTENT_TYPE)


def _add_model(app: FastAPI, desk: Desk) -> None:
    model, run = desk.model, desk.turnstile.run
    examples = _examples(model)
    errors = _refusals(400, 404, 413, 421, 422, 429)

    @app.post("/encode", responses=errors, summary="Latents of real frames.")
    async def encode(
        body: Annotated[EncodeRequest, Body(openapi_examples=examples["encode"])],
    ) -> EncodeResponse:
        frames = endpoints.read_source(model, desk.sessions, body)
        return await run(lambda: endpoints.encode(model, frames))

    @app.post(
        "/imagine",
        responses=errors | _refusals(409),
        summary="Dream on from real frames, under given actions or the controller.",
    )
    async def imagine(
        body: Annotated[ImagineRequest, Body(openapi_examples=examples["imagine"])],
    ) -> ImagineResponse:
        frames = endpoints.read_source(model, desk.sessions, body)
        return await run(lambda: endpoints.imagine(model, frames, body))

    @app.post(
        "/verify",
        responses=errors,
        summary="Check an action in the dream before it is executed.",
    )
    async def verify(
        body: Annotated[VerifyRequest, Body(openapi_examples=examples["verify"])],
    ) -> VerifyResponse:
        frames = endpoints.read_source(model, desk.sessions, body)
        answer = await run(lambda: endpoints.verify(model, frames, body))
        desk.meters.judged(answer.verdict)
        return answer

    @app.post(
        "/act",
        responses=errors | _refusals(409),
        summary="Let the controller act; an action that cannot be trusted is replaced.",
    )
    async def act(
        body: Annotated[ActRequest, Body(openapi_examples=examples["act"])],
    ) -> ActResponse:
        frames = endpoints.read_source(model, desk.sessions, body)
        # Without a check it is a product of two small matrices; a model that cannot act reads on.
        is_short = model.controller is not None and not body.verify
        answer = await run(lambda: endpoints.decide(model, frames, body), is_short=is_short)
        if answer.verification is not None:
            desk.meters.judged(answer.verification.verdict)
        return answer


def _add_sessions(app: FastAPI, desk: Desk) -> None:
    model, sessions = desk.model, desk.sessions
    errors = _refusals(400, 404, 413, 421, 422, 429)

    def answer(name: str) -> SessionResponse:
        track = sessions.track(name)
        return SessionResponse(
            session=name,
            task=track.task,
            expires_in_s=sessions.expiry_s,
            num_frames=len(track.frames),
        )

    @app.post(
        "/sessions",
        status_code=201,
        responses=errors | _refusals(409),
        summary="Begin a session, which keeps the newest frames for you.",
    )
    async def begin(
        body: Annotated[SessionRequest, Body(openapi_examples={"first task": {"value": {}}})],
    ) -> SessionResponse:
        if desk.config.num_workers > 1:
            raise HTTPException(
                409,
                f"This service runs {desk.config.num_workers} workers, and a session would live "
                f"in one of them. Post windows, which any worker answers; or start it with "
                f"--workers 1.",
            )
        return answer(sessions.open(endpoints.make_track(model, body.task)))

    @app.post("/sessions/{name}/observe", responses=errors, summary="Show the newest real frame.")
    async def observe(
        name: SessionName,
        body: Annotated[
            ObserveRequest,
            Body(openapi_examples={"first frame": {"value": {"frame": _grey(model)}}}),
        ],
    ) -> SessionResponse:
        endpoints.observe(model, sessions.track(name), body)
        return answer(name)

    @app.delete(
        "/sessions/{name}",
        status_code=204,
        response_class=Response,
        responses=_refusals(404, 421, 422),
        summary="End a session.",
    )
    async def end(name: SessionName) -> Response:
        sessions.close(name)
        return Response(status_code=204)


def _examples(model: ServedModel) -> dict[str, dict[str, Any]]:
    """Requests that this very model answers."""
    window = {"frames": [_grey(model)], "starts_episode": True}
    width = next(iter(model.widths.values()))
    rest, full = [0.0] * width, [1.0] * width
    bodies: dict[str, dict[str, Any]] = {
        "encode": {},
        "imagine": {"actions": [full, rest], "with_frames": True},
        "verify": {"action": full, "min_survival": 0.5},
        "act": {"fallback_action": rest},
    }
    return {
        name: {"one grey frame": {"value": {"window": window, **body}}}
        for name, body in bodies.items()
    }


def _grey(model: ServedModel) -> str:
    return write_frame(np.full(model.world.tokenizer.frame_spec.shape, 128, np.uint8))


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    texts = {
        400: "The body is no JSON.",
        404: "There is no such session.",
        409: "The model, or the service as it was started, cannot do this.",
        413: "The body is too large.",
        421: "The host name is not one of this service.",
        422: "A field is wrong; the text says which and why.",
        429: "Too many requests or sessions at once.",
    }
    return {
        status: {"model": ProblemResponse, "description": texts[status]}
        if status != 421
        else {"description": texts[status], "content": {"text/plain": {}}}
        for status in statuses
    }


def _problem(text: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return SafeResponse({"detail": text}, status_code=status, headers=headers)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
