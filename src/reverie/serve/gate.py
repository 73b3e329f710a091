"""What stands before every application of ours: the check of Host, headers, a limit of bodies."""

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reverie.serve.guard import is_allowed_host, security_headers


def add_guard(app: FastAPI, allowed_hosts: tuple[str, ...]) -> None:
    """Refuse requests to foreign host names; give every answer the headers of ``guard``."""
    app.add_middleware(HostGuard, allowed_hosts=allowed_hosts)


class HostGuard:
    """Answers only to names of ours."""

    def __init__(self, app: ASGIApp, allowed_hosts: tuple[str, ...]) -> None:
        """Stand before an application."""
        self._app, self._allowed_hosts = app, allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if it asks for us by name."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = Headers(scope=scope).get("host", "")
        if not is_allowed_host(host, self._allowed_hosts):
            refusal = PlainTextResponse(host_text(host), status_code=421)
            await refusal(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(security_headers(host))
            await send(message)

        await self._app(scope, receive, send_guarded)


def host_text(host: str) -> str:
    """Say that the server does not go by this name."""
    return (
        f"This server does not go by the name {host!r}. Open http://localhost with its port, or "
        f"start it with --allowed-host for that name."
    )


class BodyLimit:
    """Refuses requests whose body is larger than ``max_bytes``, before it is read as a whole."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        """Stand before an application."""
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, piece by piece, until it is too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        for name, value in scope["headers"]:
            if name == b"content-length" and (
                not value.isdigit() or int(value[:20]) > self._max_bytes
            ):
                await self._refuse()(scope, receive, send)
                return
        body, is_whole = bytearray(), False
        while not is_whole:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            is_whole = not message.get("more_body", False)
            if len(body) > self._max_bytes:
                await self._refuse()(scope, receive, send)
                return
        held: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return held.pop() if held else await receive()

        await self._app(scope, replay, send)

    def _refuse(self) -> JSONResponse:
        text = f"A request may have at most {self._max_bytes} bytes. Send fewer or smaller frames."
        return JSONResponse({"detail": text}, status_code=413, headers={"Connection": "close"})
