"""Workers of one service share its clients, and a window is read once."""

import base64
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from reverie.core.errors import ShapeError
from reverie.core.types import FrameSpec
from reverie.serve.service import inference, window
from reverie.serve.service.app import ServiceConfig, make_service
from reverie.serve.service.board import Board, count_workers
from reverie.serve.service.inference import ServedModel
from reverie.serve.service.memory import Newest
from reverie.serve.service.served import load_served_model
from tests.support import service
from tests.support.service import SIDE_PX, grey

pytestmark = pytest.mark.filterwarnings("ignore:torch.ao.quantization:DeprecationWarning")

NOBODY = 2**22 + 1
"""No process has this id: Linux stops before."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    return load_served_model(service.save_classic(tmp_path_factory.mktemp("classic") / "dream"))


def put_up(folder: Path, pid: int, num_waiting: int) -> None:
    (folder / f"{pid}.waiting").write_bytes(num_waiting.to_bytes(4, "little"))


def test_only_a_living_worker_with_fewer_waiting_outdoes_this_one(tmp_path: Path) -> None:
    alone = Board(tmp_path)
    alone.show(7)
    assert not alone.is_outdone()
    put_up(tmp_path, NOBODY, 0)
    board = Board(tmp_path)
    board.show(7)
    assert not board.is_outdone(), "a worker that died waits for nobody"
    put_up(tmp_path, os.getppid(), 3)
    board = Board(tmp_path)
    seen = []
    for number in (2, 3, 4):
        board.show(number)
        seen.append(board.is_outdone())
    assert seen == [False, False, True]


def test_only_living_workers_are_counted_as_serving(tmp_path: Path) -> None:
    assert count_workers(tmp_path) == 0
    put_up(tmp_path, NOBODY, 0)
    Board(tmp_path)
    put_up(tmp_path, os.getppid(), 0)
    assert count_workers(tmp_path) == 2


def test_a_busier_worker_closes_the_connection_after_its_answer(
    model: ServedModel, tmp_path: Path
) -> None:
    put_up(tmp_path, os.getppid(), 0)
    board = Board(tmp_path)
    app = make_service(model, ServiceConfig(num_workers=2), board)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert "connection" not in client.get("/health").headers
        board.show(1)
        answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.headers["connection"] == "close"


def test_the_model_reads_a_window_once_for_verify_and_act_and_anew_when_it_differs(
    model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_read = 0
    read = inference.read_window

    def count(*values: Any) -> Any:
        nonlocal num_read
        num_read += 1
        return read(*values)

    monkeypatch.setattr(inference, "read_window", count)
    window = {"frames": [grey(SIDE_PX)] * 2, "actions": [[0.1, 0.2]], "starts_episode": True}
    with TestClient(make_service(model), base_url="http://127.0.0.1") as client:

        def ask(path: str, **changes: Any) -> dict[str, Any]:
            body: dict[str, Any] = {"window": window | changes}
            if path == "verify":
                body["action"] = [1.0, 0.0]
            answer = client.post(f"/{path}", json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        ask("verify")
        remembered = ask("act")
        assert num_read == 1
        for changes in (
            {"actions": [[0.1, 0.3]]},
            {"frames": [grey(SIDE_PX), grey(SIDE_PX, 91)]},
            {"starts_episode": False},
        ):
            before = num_read
            ask("act", **changes)
            assert num_read == before + 1, changes
        model.windows.clear()
        anew = ask("act")
    for answer in (remembered, anew):
        answer.pop("latency_ms")
        answer["verification"].pop("latency_ms")
    assert remembered == anew


def test_the_memory_of_windows_forgets_the_oldest() -> None:
    memory: Newest[bytes, inference.Opened] = Newest(2)
    made: list[bytes] = []

    def opened(key: bytes) -> Any:
        made.append(key)
        return inference.Opened(
            task="t",
            state=None,
            past=None,
            actions=torch.zeros(1, 0, 1),
            real=torch.zeros(1, 0, 1, 1),
        )

    for key in (b"a", b"b", b"a", b"c", b"a", b"b"):
        memory.get(key, lambda key=key: opened(key))
    assert made == [b"a", b"b", b"c", b"b"]


def test_pictures_are_decoded_once_until_their_bytes_run_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded: list[str] = []
    decode = window.read_frame

    def count(text: str, kind: str, spec: FrameSpec) -> Any:
        decoded.append(text)
        return decode(text, kind, spec)

    monkeypatch.setattr(window, "read_frame", count)
    spec = FrameSpec(height_px=SIDE_PX, width_px=SIDE_PX)
    memory = window.PictureMemory(capacity_bytes=2 * SIDE_PX * SIDE_PX * 3)
    first, second, third = (grey(SIDE_PX, level) for level in (1, 2, 3))
    for text in (first, second, first, third, first, second):
        frame = memory.read(text, "png", spec)
        assert np.array_equal(frame, decode(text, "png", spec))
        assert not frame.flags.writeable
    assert decoded == [first, second, third, second]


def test_a_damaged_picture_is_refused_every_time_and_a_bloated_one_is_not_kept() -> None:
    spec = FrameSpec(height_px=SIDE_PX, width_px=SIDE_PX)
    memory = window.PictureMemory()
    for _ in range(2):
        with pytest.raises(ShapeError, match="not base64"):
            memory.read("?", "png", spec)
    bloated = base64.b64decode(grey(SIDE_PX)) + bytes(6 * SIDE_PX * SIDE_PX)
    memory.read(base64.b64encode(bloated).decode(), "png", spec)
    assert len(memory) == 0
