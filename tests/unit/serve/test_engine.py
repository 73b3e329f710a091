import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from reverie.serve.engine import BusyError, Engine, EngineConfig
from reverie.serve.outbox import MAX_WAITING, Outbox
from reverie.serve.protocol import Act, Reseed, SetRate, Start, decode_frame
from reverie.serve.session import SessionConfig
from reverie.serve.show import Measured
from tests.support.serve_worlds import make_shift_show

TIMEOUT_S = 20.0


class Mailbox:
    """Collects what the worker sends to one page."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.frames: list[bytes] = []
        self.is_closed = False
        self.changed = threading.Condition()

    def put(self, content: str | bytes) -> None:
        with self.changed:
            if isinstance(content, bytes):
                self.frames.append(content)
            else:
                self.texts.append(content)
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self.is_closed = True
            self.changed.notify_all()

    def wait_for(self, num_frames: int = 0, text: str = "", closed: bool = False) -> None:
        def has_come() -> bool:
            said = not text or any(text in item for item in self.texts)
            return len(self.frames) >= num_frames and said and self.is_closed >= closed

        with self.changed:
            assert self.changed.wait_for(has_come, TIMEOUT_S), (len(self.frames), self.texts)


@pytest.fixture(scope="module")
def library():
    return {"shift": make_shift_show()}


@pytest.fixture
def engine(library) -> Iterator[Engine]:
    engine = make_engine(library)
    engine.start()
    yield engine
    engine.close()


def make_engine(library, **changes: float) -> Engine:
    config = EngineConfig(**{"max_sessions": 2, **changes})
    session_config = SessionConfig(rate_hz=60.0, context_frames=2)
    return Engine(library, config=config, session_config=session_config, draw_seed=lambda: 3)


def test_a_session_is_welcomed_played_and_closed(engine: Engine) -> None:
    box = Mailbox()
    seat = engine.join(box)
    engine.post(seat, Start(model="shift", task="toy-paint", seed=1))
    engine.post(seat, Act(values=(1.0, 0.0)))
    box.wait_for(num_frames=8)
    assert '"type": "welcome"' in box.texts[0]
    assert '"type": "started"' in box.texts[1]
    indices = [decode_frame(content).frame.index for content in box.frames]
    assert indices == sorted(indices)
    assert engine.num_sessions == 1
    engine.leave(seat)
    box.wait_for(closed=True)
    assert engine.num_sessions == 0


def test_a_full_server_says_that_it_is_busy(engine: Engine) -> None:
    seats = [engine.join(Mailbox()) for _ in range(2)]
    with pytest.raises(BusyError) as caught:
        engine.join(Mailbox())
    assert str(caught.value) == (
        "The server is busy: 2 of 2 sessions are running. Close another tab, or try again later."
    )
    engine.leave(seats[0])
    engine.join(Mailbox())


def test_two_sessions_share_the_worker_fairly(engine: Engine) -> None:
    boxes = [Mailbox(), Mailbox()]
    seats = [engine.join(box) for box in boxes]
    for seat in seats:
        engine.post(seat, Start(model="shift", task="toy-paint"))
    for _ in range(30):
        # A page that keeps asking for costly things gets no more turns than a quiet one.
        engine.post(seats[0], Reseed())
        engine.post(seats[0], SetRate(rate_hz=60.0))
        time.sleep(0.02)
    counts = [len(box.frames) for box in boxes]
    assert counts[1] > 10


def test_waiting_actions_are_replaced_and_other_messages_are_limited(library) -> None:
    engine = make_engine(library)
    box = Mailbox()
    seat = engine.join(box)
    for step in range(500):
        engine.post(seat, Act(values=(step / 500, 0.0)))
    assert len(seat.inbox) == 1
    for _ in range(100):
        engine.post(seat, Reseed())
        engine.post(seat, Act(values=(0.0, 0.0)))
    assert len(seat.inbox) == 64
    assert "More than 64 messages wait; this one was dropped. Slow down." in box.texts[-1]


def test_an_idle_session_is_closed_with_an_explanation(library) -> None:
    engine = make_engine(library, idle_timeout_s=0.2)
    engine.start()
    box = Mailbox()
    engine.join(box)
    box.wait_for(text="without input. Press reconnect to play on.", closed=True)
    assert engine.num_sessions == 0
    engine.close()


def test_a_fault_in_one_session_closes_it_and_spares_the_others(
    library, caplog: pytest.LogCaptureFixture
) -> None:
    def read(*_: object) -> Measured:
        return Measured(raw={"u_r": 1 / 0}, normalised={})

    broken = replace(library["shift"], name="broken", read=read)
    engine = make_engine({**library, "broken": broken})
    engine.start()
    boxes = [Mailbox(), Mailbox()]
    seats = [engine.join(box) for box in boxes]
    engine.post(seats[0], Start(model="broken", task="toy-paint"))
    boxes[0].wait_for(text="The session failed inside the server", closed=True)
    assert "Traceback" not in "".join(boxes[0].texts)
    engine.post(seats[1], Start(model="shift", task="toy-paint"))
    boxes[1].wait_for(num_frames=3)
    engine.close()
    assert "A session failed and was closed." in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_closing_the_engine_ends_every_session(library) -> None:
    engine = make_engine(library)
    engine.start()
    box = Mailbox()
    engine.post(engine.join(box), Start(model="shift", task="toy-paint"))
    box.wait_for(num_frames=2)
    engine.close()
    assert box.is_closed


async def drain(outbox: Outbox) -> list[str | bytes]:
    outbox.close()
    contents: list[str | bytes] = []
    while (content := await outbox.get()) is not None:
        contents.append(content)
    return contents


def test_only_the_newest_frame_waits_and_order_is_kept() -> None:
    async def run() -> tuple[list[str | bytes], int]:
        outbox = Outbox(asyncio.get_running_loop())
        for content in ("a", b"1", b"2", "b", b"3", "c"):
            outbox.put(content)
        return await drain(outbox), outbox.num_dropped

    contents, num_dropped = asyncio.run(run())
    assert contents == ["a", "b", b"3", "c"]
    assert num_dropped == 2


def test_a_page_that_reads_nothing_is_given_up() -> None:
    async def run() -> list[str | bytes]:
        outbox = Outbox(asyncio.get_running_loop())
        for index in range(MAX_WAITING + 10):
            outbox.put(str(index))
        return await drain(outbox)

    assert asyncio.run(run()) == []


def test_a_reader_wakes_when_another_thread_puts() -> None:
    async def run() -> str | bytes | None:
        outbox = Outbox(asyncio.get_running_loop())
        threading.Timer(0.05, outbox.put, ("late",)).start()
        return await asyncio.wait_for(outbox.get(), TIMEOUT_S)

    assert asyncio.run(run()) == "late"
