import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reverie.cli.main import main
from reverie.core.config import to_dict
from reverie.core.errors import CheckpointError, ConfigError, PortInUseError, UnknownNameError
from reverie.hallucination.calibrate import FILE_NAME as CALIBRATION_FILE
from reverie.hallucination.thresholds import Limit, TaskThresholds, Thresholds, reading_setup
from reverie.hallucination.verifier import Verifier, VerifierConfig, save_verifier
from reverie.models.dynamics.heads import ContinueHead, RewardHead
from reverie.models.dynamics.net import DynamicsNet
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.load import model_digest, resolve_model, save_world_model
from reverie.models.tokenizer.conv import ConvTokenizer
from reverie.recipes.pocket import debug
from reverie.serve.library import load_library, load_show, make_show
from reverie.serve.protocol import Act, Notice, Shown, Start
from reverie.serve.server import bind, page_url
from reverie.serve.session import Session, SessionConfig
from reverie.serve.stage import Stage
from tests.support.serve_worlds import ShiftWorld


def make_untrained_world() -> ShortcutWorld:
    config = debug()
    width = config.dynamics.stack.width
    world = ShortcutWorld(
        ConvTokenizer(config.tokenizer),
        DynamicsNet(config.dynamics),
        RewardHead(width, config.heads),
        ContinueHead(width, config.heads),
    )
    return world.eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_world_model(tmp_path / "small", make_untrained_world())
    return tmp_path / "small"


def test_a_model_folder_is_played_with_its_limits(folder: Path) -> None:
    world = make_untrained_world()
    limits = {"u_r": Limit(yellow=0.1, red=0.2)}
    fitted = TaskThresholds(motion=0.1, limits=limits, num_steps=50, uses_diverged=False)
    setup = reading_setup(folder, world)
    Thresholds(setup=setup, tasks=dict.fromkeys(world.tasks, fitted)).save(folder)
    show = load_show(folder)
    assert show.name == "small"
    assert show.notice is None
    config = SessionConfig(context_frames=3)
    session = Session({"small": show}, root_seed=1, clock=lambda: 0.0, config=config)
    session.handle(Start(model="small", task=world.tasks[0]))
    session.handle(Act(values=(1.0, 0.0)))
    for step in range(12):
        (*_, shown) = session.tick(float(step))
        assert isinstance(shown, Shown)
    levels = {reading.name: reading.level for reading in shown.frame.readings}
    assert levels["u_r"] in ("green", "yellow", "red")
    assert levels["u_f"] == levels["u_s"] == "unknown"
    assert shown.frame.horizon == 10


def test_only_tasks_with_limits_are_read_as_the_limits_were_fitted(folder: Path) -> None:
    world = make_untrained_world()
    limits = {"u_r": Limit(yellow=0.1, red=0.2)}
    fitted = TaskThresholds(motion=1e6, limits=limits, num_steps=50, uses_diverged=False)
    thresholds = Thresholds(setup=reading_setup(folder, world), tasks={world.tasks[0]: fitted})
    thresholds.save(folder)
    show = load_show(folder)
    ratios = {}
    for task in world.tasks:
        stage = Stage(show, task, context_frames=3, clock=lambda: 0.0)
        stage.reset(0)
        for _ in range(4):
            moment = stage.advance(np.zeros(stage.spec.action.width, np.float32))
        reading = {name: moment.measured.normalised[name] for name in ("u_r", "u_s")}
        ratios[task] = moment.measured.raw["u_r"] / reading["u_r"]
        stage.close()
    # Half of the motion of real data is the floor; nothing is known of the other task.
    assert ratios[world.tasks[0]] == pytest.approx(0.5e6)
    assert ratios[world.tasks[1]] < 100.0


def test_limits_from_dreams_that_went_wrong_are_played_with_a_doubt(folder: Path) -> None:
    world = make_untrained_world()
    limits = {"u_r": Limit(yellow=0.1, red=0.2)}
    sure = TaskThresholds(motion=0.1, limits=limits, num_steps=50, uses_diverged=False)
    tasks = {world.tasks[0]: sure, world.tasks[1]: replace(sure, uses_diverged=True)}
    Thresholds(setup=reading_setup(folder, world), tasks=tasks).save(folder)
    library = {"small": load_show(folder)}
    session = Session(library, root_seed=1, clock=lambda: 0.0, config=SessionConfig())
    first, second = (session.handle(Start(model="small", task=task)) for task in world.tasks)
    assert not [item for item in first if isinstance(item, Notice)]
    (notice,) = [item for item in second if isinstance(item, Notice)]
    assert "come from dreams that had nearly all gone wrong" in notice.text


def test_the_shipped_model_shows_its_probability_unless_nobody_watches() -> None:
    pocket = resolve_model("pocket")
    assert load_show(pocket).calibration is not None
    unwatched = load_show(pocket, watches=False)
    assert unwatched.calibration is None and unwatched.limits


def test_every_model_of_the_page_is_put_on_the_device(folder: Path) -> None:
    pocket = resolve_model("pocket")
    assert {show.world.device.type for show in load_library([folder, pocket]).values()} == {"cpu"}
    elsewhere = load_library([folder, pocket], device="meta")
    assert {show.world.device.type for show in elsewhere.values()} == {"meta"}


def test_the_verifier_of_a_model_lies_where_the_model_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_untrained_world()
    Thresholds(setup=reading_setup(folder, world), tasks={}).save(folder)
    save_verifier(Verifier(VerifierConfig.of(world)), folder, checkpoint=model_digest(folder))
    (folder / CALIBRATION_FILE).touch()
    looks_at_it = load_show(resolve_model("pocket")).calibration
    assert looks_at_it is not None
    monkeypatch.setattr("reverie.serve.library.load_bank", lambda _: None)
    monkeypatch.setattr("reverie.serve.library.SIGNAL", looks_at_it.channels[0])
    monkeypatch.setattr("reverie.serve.library.load_calibration", lambda *_: looks_at_it)
    verifier = load_show(folder, device="meta").verifier
    assert verifier is not None
    assert {values.device.type for values in verifier.parameters()} == {"meta"}


def test_a_model_without_limits_says_how_to_fit_them(folder: Path) -> None:
    show = load_show(folder)
    assert show.limits == {}
    assert show.notice is not None
    assert "has no limits for readings" in show.notice
    assert "--fit-thresholds" in show.notice


def test_limits_of_another_checkpoint_are_refused(folder: Path) -> None:
    setup = reading_setup(folder, make_untrained_world())
    values = {"setup": {**to_dict(setup), "checkpoint": "another"}, "tasks": {}}
    (folder / "readings.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="Limits do not carry over"):
        load_show(folder)


def test_a_library_refuses_what_it_cannot_offer(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a model folder"):
        load_library([tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match="Two models are called 'small'"):
        load_library([folder, folder])
    with pytest.raises(ConfigError, match="Give at least one model folder"):
        load_library([])
    with pytest.raises(UnknownNameError, match="Did you mean 'toy-paint'"):
        load_library([folder], first_task="toy-pain")


def test_a_model_of_unknown_tasks_only_is_refused() -> None:
    with pytest.raises(ConfigError, match="The model 'odd' knows only: toy-pant"):
        make_show("odd", ShiftWorld(("toy-pant",)))


def test_a_taken_port_is_refused_with_another_one_to_try() -> None:
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortInUseError) as caught:
            bind("127.0.0.1", port)
    assert str(caught.value) == (
        f"Port {port} on 127.0.0.1 is in use. Stop the program that uses it, or choose another "
        f"port: --port {port + 1}"
    )


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ConfigError, match="Cannot listen on 203.0.113.9:8765.*--host 127.0.0.1"):
        bind("203.0.113.9", 8765)
    with pytest.raises(ConfigError, match="A port lies in 0 to 65535, got 99999"):
        bind("127.0.0.1", 99999)


def test_the_address_is_one_that_a_browser_can_open() -> None:
    assert page_url("0.0.0.0", 8765) == "http://127.0.0.1:8765/"
    assert page_url("::1", 80) == "http://[::1]:80/"
    assert page_url("localhost", 1) == "http://localhost:1/"


def test_play_on_a_taken_port_is_one_line_and_no_trace(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code = main(["play", str(folder), "--no-browser", "--port", port])
    assert code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"reverie: Port {port} on 127.0.0.1 is in use.")


def test_play_of_a_missing_model_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "no/such/folder"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "is not a model folder" in line


def test_play_serves_the_page_and_says_where(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import uvicorn

    servers: list[uvicorn.Server] = []
    plain_run = uvicorn.Server.run

    def run(self: uvicorn.Server, sockets: list[socket.socket]) -> None:
        servers.append(self)
        plain_run(self, sockets)

    answers: list[dict] = []

    def visit() -> None:
        wait = threading.Event()
        while not (servers and servers[0].started):
            wait.wait(0.02)
        port = servers[0].servers[0].sockets[0].getsockname()[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=20) as answer:
            answers.append(json.load(answer))
        wait.wait(0.1)
        servers[0].should_exit = True

    monkeypatch.setattr(uvicorn.Server, "run", run)
    visitor = threading.Thread(target=visit)
    visitor.start()
    assert main(["play", str(folder), "--no-browser", "--port", "0"]) == 0
    visitor.join(20)
    assert answers[0]["ok"] is True
    assert "The page is at http://127.0.0.1:" in capsys.readouterr().out


def test_ctrl_c_ends_the_server_quietly(folder: Path) -> None:
    code = "import sys; from reverie.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "play", str(folder), "--no-browser", "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as process:
        assert process.stdout is not None
        assert "The page is at" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=30)
    assert (process.returncode, out, error) == (0, "", "")
