"""The HTTP service keeps its contract, for models of both families."""

import asyncio
import json
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from reverie.core.errors import CheckpointError, ConfigError, DataError
from reverie.core.files import SEAL, write_sealed
from reverie.data.windows import to_batch
from reverie.hallucination.acceptance import load_acceptance
from reverie.models.classic.controller import act
from reverie.serve.service.app import (
    BusyError,
    ServiceConfig,
    Turnstile,
    make_service,
    max_body_bytes,
)
from reverie.serve.service.fitting import fit_service
from reverie.serve.service.inference import ServedModel
from reverie.serve.service.served import load_served_model
from reverie.serve.service.sessions import Sessions, TooManySessionsError, UnknownSessionError
from reverie.serve.service.window import Track
from tests.support import service
from tests.support.service import SIDE_PX, TASK, grey

pytestmark = pytest.mark.filterwarnings("ignore:torch.ao.quantization:DeprecationWarning")

WINDOW = {
    "frames": [grey(SIDE_PX), grey(SIDE_PX, 90), grey(SIDE_PX, 60)],
    "actions": [[0.1, -0.2], [1.0, 0.5]],
    "starts_episode": True,
}


@pytest.fixture(scope="module")
def classic(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    return load_served_model(service.save_classic(tmp_path_factory.mktemp("classic") / "dream"))


@pytest.fixture(scope="module")
def shortcut(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    return load_served_model(service.save_shortcut(tmp_path_factory.mktemp("other") / "dream"))


@pytest.fixture
def open_client() -> Iterator[Callable[..., TestClient]]:
    opened: list[TestClient] = []

    def open_one(model: ServedModel, config: ServiceConfig = ServiceConfig()) -> TestClient:  # noqa: B008
        app = make_service(model, config)
        client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
        opened.append(client.__enter__())
        return client

    yield open_one
    for client in opened:
        client.__exit__(None, None, None)


def without_time(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {k: without_time(v) for k, v in answer.items() if k != "latency_ms"}
    return answer


def test_health_says_what_is_served(open_client: Any, classic: ServedModel) -> None:
    facts = open_client(classic).get("/health").json()
    assert facts["family"] == "classic" and facts["precision"] == "int8"
    assert facts["action_widths"] == {TASK: 2} and facts["frame_shape"] == [SIDE_PX, SIDE_PX, 3]
    assert facts["has_controller"] is True and facts["has_acceptance"] is False
    layers = facts["float_layers"]
    assert any(name.startswith("vae.encoder.") for name in layers)
    assert not any("lstm" in name for name in layers)


@pytest.mark.parametrize("family", ["classic", "shortcut"])
def test_every_example_of_the_schema_is_answered_and_again_the_same(
    family: str, open_client: Any, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(family)
    client = open_client(model)
    schema = client.get("/openapi.json").json()
    for path in ("/encode", "/imagine", "/verify", "/act", "/sessions"):
        content = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        (example,) = content["examples"].values()
        answers = [client.post(path, json=example["value"]) for _ in range(2)]
        if path == "/act" and family == "shortcut":
            assert [answer.status_code for answer in answers] == [409, 409]
            assert "This model has no controller" in answers[0].json()["detail"]
            continue
        assert {answer.status_code for answer in answers} <= {200, 201}, answers[0].text
        if path != "/sessions":
            first, second = (without_time(answer.json()) for answer in answers)
            assert first == second


@pytest.mark.parametrize("family", ["classic", "shortcut"])
def test_a_dream_shows_steps_frames_and_latents_and_survival_never_rises(
    family: str, open_client: Any, request: pytest.FixtureRequest
) -> None:
    model: ServedModel = request.getfixturevalue(family)
    side, width = model.world.tokenizer.frame_spec.height_px, next(iter(model.widths.values()))
    body = {
        "window": {"frames": [grey(side)], "starts_episode": True},
        "actions": [[0.5] * width] * 4,
        "num_samples": 3,
        "with_frames": True,
        "with_latents": True,
    }
    answer = open_client(model).post("/imagine", json=body).json()
    alive = [step["survival"] for step in answer["steps"]]
    assert len(alive) == 4 and alive == sorted(alive, reverse=True)
    assert all(step["action"] == [0.5] * width for step in answer["steps"])
    assert len(answer["frames"]) == len(answer["latents"]) == 4
    spec = model.world.latent_spec
    assert np.array(answer["latents"]).shape == (4, spec.num_tokens, spec.num_channels)
    other = open_client(model).post("/imagine", json=body | {"seed": 1}).json()
    # An untrained transformer dreams zeros whatever the noise.
    assert (other["steps"] != answer["steps"]) == (family == "classic")


def test_the_action_is_the_one_of_the_deployed_controller(
    open_client: Any, classic: ServedModel, tmp_path: Path
) -> None:
    store = service.play_toy(tmp_path / "store", 1)
    body = {"window": service.window_of(store, 0, 0, 4), "verify": False}
    answer = open_client(classic).post("/act", json=body).json()
    window = store.read_window(store.index[0].id, 0, 4)
    batch = to_batch([window], action_width=classic.world.action_width)
    world: Any = classic.world
    state = world.start(batch, torch.zeros(1, 4, 1, world.latent_spec.num_channels))
    assert classic.controller is not None
    config, parameters = classic.controller
    expected = act(config, parameters[None], world.features(state)[:, None])[0, 0]
    assert answer["source"] == "controller" and answer["verification"] is None
    # INT8 scales activations by the call: a window read at once differs in the last bits.
    assert answer["action"] == pytest.approx(expected.tolist(), abs=2e-3)


def test_a_session_answers_as_the_window_it_holds(open_client: Any, classic: ServedModel) -> None:
    client = open_client(classic)
    name = client.post("/sessions", json={}).json()["session"]
    assert client.post("/act", json={"session": name}).status_code == 422
    frames = [grey(SIDE_PX, level) for level in (10, 50, 90, 130, 170, 210, 250)]
    for number, frame in enumerate(frames):
        body = {"frame": frame} | ({"action": [0.1 * number, 0.0]} if number else {})
        seen = client.post(f"/sessions/{name}/observe", json=body).json()
    assert seen["num_frames"] == classic.max_frames == 5
    window = {
        "frames": frames[-5:],
        "actions": [[0.1 * number, 0.0] for number in range(3, 7)],
        "starts_episode": False,
    }
    by_name = client.post("/act", json={"session": name}).json()
    by_window = client.post("/act", json={"window": window}).json()
    assert without_time(by_name) == without_time(by_window)
    assert client.delete(f"/sessions/{name}").status_code == 204
    gone = client.post("/act", json={"session": name})
    assert gone.status_code == 404 and "There is no such session here" in gone.json()["detail"]


def test_sessions_are_bounded_and_forgotten() -> None:
    now = [0.0]
    sessions = Sessions(max_sessions=2, expiry_s=10.0, clock=lambda: now[0])
    first, second = (sessions.open(Track(task=TASK, width=2, capacity=3)) for _ in range(2))
    with pytest.raises(TooManySessionsError, match="All 2 sessions are in use"):
        sessions.open(Track(task=TASK, width=2, capacity=3))
    now[0] = 8.0
    sessions.track(first)
    now[0] = 15.0
    assert len(sessions) == 1
    with pytest.raises(UnknownSessionError):
        sessions.track(second)
    assert sessions.track(first).task == TASK


def test_several_workers_have_no_sessions_and_say_why(
    open_client: Any, classic: ServedModel
) -> None:
    answer = open_client(classic, ServiceConfig(num_workers=2)).post("/sessions", json={})
    assert answer.status_code == 409
    assert "Post windows, which any worker answers" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "give either a window or a session"),
        ({"window": WINDOW, "session": "x"}, "give either a window or a session"),
        ({"window": WINDOW, "sedd": 1}, "body.sedd: Extra inputs are not permitted"),
        ({"window": WINDOW, "seed": -1}, "body.seed: Input should be greater than or equal to 0"),
        ({"window": WINDOW | {"task": "toy-fal"}}, "Did you mean 'toy-fall'"),
        ({"window": WINDOW | {"actions": [[0.0, 0.0]]}}, "3 frames have 2 actions between them"),
        ({"window": WINDOW | {"actions": [[0.0], [0.0]]}}, "has 2 lanes, got 1"),
        ({"window": WINDOW | {"actions": [[2.0, 0], [0, 0]]}}, "less than or equal to 1"),
        ({"window": WINDOW | {"frames": ["????"] * 3}}, "A frame is not base64"),
        ({"window": WINDOW | {"frames": ["AAAA"] * 3}}, "A frame is no PNG"),
        ({"window": WINDOW | {"format": "rgb"}}, "A frame of 16x16 RGB has 768 bytes"),
        ({"window": WINDOW | {"frames": [grey(8)] * 3}}, "got a PNG of 8x8"),
        ({"window": WINDOW | {"frames": [grey(16)[:60] + "AAAA"] * 3}}, "it is damaged"),
        (
            {"window": WINDOW | {"frames": [grey(16)] * 6, "actions": [[0, 0]] * 5}},
            "up to 5 frames",
        ),
        ({"window": WINDOW, "fallback_action": [0.0]}, "has 2 lanes, got 1"),
        ({"window": WINDOW, "min_survival": "NaN"}, "body.min_survival"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_in_one_line(
    body: Any, text: str, open_client: Any, classic: ServedModel
) -> None:
    answer = open_client(classic).post("/act", json=body)
    assert answer.status_code == 422, answer.text
    assert text in answer.json()["detail"] and "\n" not in answer.json()["detail"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[" * 60_000,
        b'{"window": NaN}',
        b'{"window": {"task": "\\ud800", "frames": ["aaaa"], "starts_episode": true}}',
        b'{"session": "\\ud800\\u0000"}',
        b'{"seed": ' + b"9" * 5000 + b"}",
        b"\xff\xfe",
        b'{"min_survival": 1e999, "seed": 1e400}',
    ],
)
def test_broken_bodies_are_refused_without_an_error_of_the_server(
    content: bytes, open_client: Any, classic: ServedModel
) -> None:
    headers = {"content-type": "application/json"}
    answer = open_client(classic).post("/act", content=content, headers=headers)
    assert answer.status_code in (400, 404, 422), answer.text
    assert answer.json()["detail"]


def test_large_bodies_are_refused_whether_they_say_so_or_not(
    open_client: Any, classic: ServedModel
) -> None:
    client, limit = open_client(classic), max_body_bytes(classic, ServiceConfig())
    said = client.post("/act", content=b" " * (limit + 1))
    chunks = (b" " * 1000 for _ in range(limit // 1000 + 1))
    unsaid = client.post("/act", content=chunks)
    for answer in (said, unsaid):
        assert answer.status_code == 413
        assert answer.json()["detail"].startswith(f"A request may have at most {limit} bytes")
    widest = WINDOW | {
        "frames": [service.raw(np.zeros((16, 16, 3), np.uint8))] * 5,
        "actions": [[0, 0]] * 4,
        "format": "rgb",
    }
    assert client.post("/encode", json={"window": widest}).status_code == 200


def test_other_host_names_are_refused(open_client: Any, classic: ServedModel) -> None:
    client = open_client(classic, ServiceConfig(allowed_hosts=("robot.local",)))
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/health", headers={"host": "robot.local"}).status_code == 200


def test_more_requests_than_may_wait_are_told_to_come_back() -> None:
    gate = threading.Event()

    async def ask() -> int:
        turnstile = Turnstile(max_waiting=1)
        first = asyncio.create_task(turnstile.run(gate.wait))
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="1 requests wait already.*--workers"):
            await turnstile.run(lambda: 1)
        gate.set()
        assert await first
        return await turnstile.run(lambda: 2)

    assert asyncio.run(ask()) == 2


def test_short_calls_pass_before_long_ones_and_else_all_keep_their_order() -> None:
    gate, served = threading.Event(), list[str]()

    async def ask() -> None:
        turnstile = Turnstile(max_waiting=9)
        running = asyncio.create_task(turnstile.run(gate.wait))
        names = ["long 1", "long 2", "short 1", "long 3", "short 2"]
        waiting = [
            asyncio.create_task(
                turnstile.run(lambda name=name: served.append(name), is_short="short" in name)
            )
            for name in names
        ]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(running, *waiting)

    asyncio.run(ask())
    assert served == ["short 1", "short 2", "long 1", "long 2", "long 3"]


def test_closing_answers_the_running_call_and_lets_nobody_wait_for_ever() -> None:
    gate = threading.Event()

    async def ask() -> None:
        turnstile = Turnstile(max_waiting=9)
        running = asyncio.create_task(turnstile.run(gate.wait))
        waiting = asyncio.create_task(turnstile.run(lambda: 1))
        await asyncio.sleep(0.05)
        threading.Timer(0.1, gate.set).start()
        await asyncio.to_thread(turnstile.close)
        assert await running
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(asyncio.wait_for(ask(), timeout=20))


def test_errors_and_cancelled_callers_leave_the_turnstile_open() -> None:
    gate = threading.Event()

    async def ask() -> int:
        turnstile = Turnstile(max_waiting=9)
        running = asyncio.create_task(turnstile.run(gate.wait))
        gone = asyncio.create_task(turnstile.run(lambda: 1 / 0))
        await asyncio.sleep(0)
        gone.cancel()
        gate.set()
        await running
        with pytest.raises(ZeroDivisionError):
            await turnstile.run(lambda: 1 / 0)
        return await turnstile.run(lambda: 2)

    assert asyncio.run(ask()) == 2


def test_metrics_count_requests_and_verdicts_and_know_only_paths_of_ours(
    open_client: Any, classic: ServedModel
) -> None:
    client = open_client(classic)
    client.post("/act", json={"window": WINDOW})
    client.post("/act", json={})
    client.get("/secret/42")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }
    assert samples["reverie_requests_total", "/act", "200"] == 1
    assert samples["reverie_requests_total", "/act", "422"] == 1
    assert samples["reverie_requests_total", "unknown", "404"] == 1
    assert samples["reverie_verdicts_total", "unjudged"] == 1
    assert samples["reverie_request_seconds_count", "/act"] == 2


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    home = tmp_path_factory.mktemp("fitted")
    store = service.play_toy(home / "store", 14)
    folder = service.save_taught(home / "dream", store)
    held_out = service.play_toy(home / "held-out", 14, seed=1)
    model = load_served_model(folder)
    fit_service(model, folder, held_out, moments_per_task=120, alpha=0.05)
    return folder, service.play_toy(home / "fresh", 8, seed=2)


def test_real_play_is_accepted_and_a_corrupted_window_falls_back(
    fitted: tuple[Path, Any], open_client: Any
) -> None:
    folder, fresh = fitted
    client = open_client(load_served_model(folder))
    assert client.get("/health").json()["has_acceptance"] is True
    rng = np.random.default_rng(0)
    refused = {"real": 0, "corrupt": 0}
    for episode in range(8):
        for first in (0, 2):
            real = service.window_of(fresh, episode, first, 5)
            noise = [rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8) for _ in range(5)]
            corrupt = real | {"frames": [service.raw(one) for one in noise], "format": "rgb"}
            for kind, window in (("real", real), ("corrupt", corrupt)):
                body = {"window": window, "fallback_action": [0.25, 0.0]}
                answer = client.post("/act", json=body).json()
                check = answer["verification"]
                assert (check["verdict"] == "reject") == (check["confidence"] < check["threshold"])
                if check["verdict"] == "reject":
                    refused[kind] += 1
                    assert answer["source"] == "fallback" and answer["action"] == [0.25, 0.0]
                    assert "real play hardly looks so" in check["reasons"][0]
    assert refused["corrupt"] == 16 and refused["real"] <= 4, refused
    body = {"window": corrupt, "min_confidence": 0.5}
    assert client.post("/act", json=body).json()["source"] == "abstain"
    assert client.post("/act", json=body).json()["action"] is None


def test_a_doomed_action_is_refused_where_survival_is_demanded(
    open_client: Any, classic: ServedModel
) -> None:
    client = open_client(classic)
    body = {"window": WINDOW, "action": [0.0, 0.0]}
    free = client.post("/verify", json=body).json()
    assert free["verdict"] == "unjudged" and 0 < free["survival"] < 1
    asked = client.post("/verify", json=body | {"min_survival": free["survival"] + 1e-3}).json()
    assert asked["verdict"] == "reject" and "the dream survives with" in asked["reasons"][0]


def test_a_fit_belongs_to_its_model_and_precision(fitted: tuple[Path, Any]) -> None:
    folder, _ = fitted
    with pytest.raises(CheckpointError, match="was fitted in int8.*--precision int8"):
        load_served_model(folder, precision="float32")
    path = folder / "acceptance.json"
    kept = path.read_text()
    try:
        values = json.loads(kept) | {"model": "another"}
        path.write_text(json.dumps(values))
        with pytest.raises(DataError, match="reverie serve fit MODEL STORE"):
            load_served_model(folder)
        write_sealed(path, {name: value for name, value in values.items() if name != SEAL})
        with pytest.raises(CheckpointError, match="fitted for other weights"):
            load_served_model(folder)
        path.write_text("{")
        with pytest.raises(DataError, match="reverie serve fit MODEL STORE"):
            load_acceptance(folder)
    finally:
        path.write_text(kept)


def test_confidence_falls_with_every_reading_and_nothing_undefined_is_trusted(
    fitted: tuple[Path, Any],
) -> None:
    found = load_acceptance(fitted[0])
    usual = {name: grid[100] for name, grid in found.quantiles[TASK].items()}
    assert found.confidence(TASK, usual) == pytest.approx(0.5, abs=0.02)
    for name in usual:
        assert found.confidence(TASK, usual | {name: math.inf}) == 0.0
        assert found.confidence(TASK, usual | {name: math.nan}) == 0.0
    assert found.confidence("another task", usual) is None


def test_int8_of_a_family_that_has_none_is_refused(tmp_path: Path) -> None:
    folder = service.save_shortcut(tmp_path / "dream")
    with pytest.raises(ConfigError, match="Serve it with --precision float32"):
        load_served_model(folder, precision="int8")


def test_a_store_without_episodes_of_the_model_cannot_teach_it(
    tmp_path: Path, shortcut: ServedModel
) -> None:
    store = service.play_toy(tmp_path / "store", 1)
    with pytest.raises(DataError, match="Collect at that size"):
        fit_service(shortcut, tmp_path, store)
