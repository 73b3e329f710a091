import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.client import HTTPResponse

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from reverie.serve.app import (
    CLOSE_BUSY,
    CLOSE_REFUSED,
    CLOSE_TOO_BIG,
    CLOSE_TOO_FAST,
    ServeConfig,
    make_app,
)
from reverie.serve.engine import EngineConfig
from reverie.serve.guard import RateLimit, is_allowed_host, is_same_origin
from reverie.serve.protocol import MAX_TEXT_BYTES, decode_frame
from reverie.serve.session import SessionConfig
from tests.support.serve_server import running_server
from tests.support.serve_worlds import make_shift_show


class Client:
    """Talks to a real server on a free port."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def get(self, path: str, headers: dict[str, str] | None = None) -> HTTPResponse:
        request = urllib.request.Request(self.url + path, headers=headers or {})
        try:
            return urllib.request.urlopen(request, timeout=20)
        except urllib.error.HTTPError as error:
            return error  # type: ignore[return-value]

    def connect(self, origin: str | None = "same") -> AbstractContextManager[ClientConnection]:
        address = self.url.replace("http", "ws", 1) + "/ws"
        return connect(address, origin=self.url if origin == "same" else origin)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    config = ServeConfig(
        engine=EngineConfig(max_sessions=2),
        session=SessionConfig(rate_hz=60.0, context_frames=2),
        max_messages_hz=20.0,
        message_burst=30.0,
    )
    with running_server(make_app({"shift": make_shift_show()}, config)) as url:
        yield Client(url)


def say(socket: ClientConnection, **message: object) -> None:
    socket.send(json.dumps(message))


def read_until(socket: ClientConnection, kind: str) -> dict:
    """Read messages up to the first one of a type."""
    for _ in range(300):
        content = socket.recv(timeout=20)
        if isinstance(content, bytes):
            message = {"type": "frame", "frame": decode_frame(content).frame}
        else:
            message = json.loads(content)
        if message["type"] == kind:
            return message
    raise AssertionError(f"no {kind} came")


def close_code(socket: ClientConnection) -> int | None:
    """Read to the end and return the code with which the server closed."""
    with pytest.raises(ConnectionClosed) as caught:
        for _ in range(1000):
            socket.recv(timeout=20)
    return None if caught.value.rcvd is None else caught.value.rcvd.code


def test_the_page_comes_with_headers_that_keep_it_to_this_server(client: Client) -> None:
    answer = client.get("/")
    assert answer.status == 200
    assert b'<canvas id="dream"' in answer.read()
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_modules_are_served_as_javascript(client: Client) -> None:
    answer = client.get("/static/main.js")
    assert answer.status == 200
    assert "javascript" in answer.headers["content-type"]


def test_health_models_and_schema_answer(client: Client) -> None:
    assert json.load(client.get("/api/health"))["ok"] is True
    (model,) = json.load(client.get("/api/models"))
    assert model["name"] == "shift"
    assert "frame" in json.load(client.get("/schema.json"))["server"]
    assert client.get("/docs").status == 404


def test_a_foreign_host_name_is_refused(client: Client) -> None:
    answer = client.get("/", headers={"host": "evil.example"})
    assert answer.status == 421
    assert "does not go by the name 'evil.example'" in answer.read().decode()


@pytest.mark.parametrize(
    "origin", [None, "http://evil.example", "http://127.0.0.1:9999", "null", "http://["]
)
def test_a_socket_of_another_origin_is_refused(client: Client, origin: str | None) -> None:
    with client.connect(origin) as socket:
        problem = read_until(socket, "problem")
        assert problem["code"] == "refused"
        assert "only pages of this server" in problem["text"]
        assert close_code(socket) == CLOSE_REFUSED


def test_a_game_is_played_over_the_socket(client: Client) -> None:
    with client.connect() as socket:
        assert read_until(socket, "welcome")["models"][0]["name"] == "shift"
        say(socket, type="start", model="shift", task="toy-paint", seed=4)
        assert read_until(socket, "started")["seed"] == 4
        say(socket, type="act", values=[1, 0])
        for _ in range(100):
            frame = read_until(socket, "frame")["frame"]
            if frame.phase == "dream" and frame.action == (1.0, 0.0):
                break
        assert frame.readings


def test_wrong_messages_are_answered_and_the_connection_stays(client: Client) -> None:
    with client.connect() as socket:
        socket.send("{")
        assert "must be a JSON object" in read_until(socket, "problem")["text"]
        say(socket, type="stat")
        assert "Did you mean 'start'?" in read_until(socket, "problem")["text"]
        socket.send(b"123")
        assert "text messages" in read_until(socket, "problem")["text"]
        say(socket, type="start", model="shift", task="pong")
        assert "The model 'shift' can dream" in read_until(socket, "problem")["text"]


def test_a_message_that_is_too_long_ends_the_connection(client: Client) -> None:
    with client.connect() as socket:
        socket.send("x" * (MAX_TEXT_BYTES + 1))
        assert read_until(socket, "problem")["code"] == "size"
        assert close_code(socket) == CLOSE_TOO_BIG


def test_too_many_messages_end_the_connection(client: Client) -> None:
    with client.connect() as socket:
        for _ in range(40):
            say(socket, type="reseed")
        problem = read_until(socket, "problem")
        while problem["code"] != "rate":
            problem = read_until(socket, "problem")
        assert problem["text"] == "More than 20 messages per second; slow down."
        assert close_code(socket) == CLOSE_TOO_FAST


def test_a_third_session_is_told_that_the_server_is_busy(client: Client) -> None:
    with (
        client.connect() as first,
        client.connect() as second,
    ):
        read_until(first, "welcome")
        read_until(second, "welcome")
        with client.connect() as third:
            assert "The server is busy: 2 of 2" in read_until(third, "problem")["text"]
            assert close_code(third) == CLOSE_BUSY


def test_a_seat_is_free_again_when_a_page_leaves(client: Client) -> None:
    for _ in range(4):
        with client.connect() as socket:
            read_until(socket, "welcome")


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("localhost:8765", True),
        ("LOCALHOST", True),
        ("127.0.0.1:80", True),
        ("[::1]:8765", True),
        ("192.168.1.7:8765", True),
        ("studio.local:8765", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("[", False),
        ("", False),
    ],
)
def test_hosts_are_addresses_localhost_or_listed(host: str, is_allowed: bool) -> None:
    assert is_allowed_host(host, ("studio.local",)) is is_allowed


def test_origins_must_be_the_host_itself() -> None:
    assert is_same_origin("http://localhost:8765", "localhost:8765")
    assert not is_same_origin("http://localhost:8766", "localhost:8765")
    assert not is_same_origin("ftp://localhost:8765", "localhost:8765")
    assert not is_same_origin("http://[", "[")
    assert not is_same_origin(None, "")


def test_a_bucket_empties_and_fills_again() -> None:
    limit = RateLimit.full(rate_hz=2.0, burst=3.0, now_s=0.0)
    assert [limit.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [limit.take(0.5), limit.take(0.5)] == [True, False]
    assert [limit.take(99.0) for _ in range(4)] == [True, True, True, False]
