"""``--device`` of the commands that run a model: it arrives, or one line says why it cannot."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie.cli.main import EXIT_USER_ERROR, main
from reverie.core.errors import ConfigError
from reverie.models.load import save_world_model
from tests.support.small_world import make_small_world

COMMANDS = {
    "play": ["play", "--no-browser"],
    "evaluate": ["evaluate"],
    "calibrate": ["calibrate"],
    "plan": ["plan", "--task", "toy-paint", "--model"],
    "looks": ["evaluate", "looks"],
    "branches": ["evaluate", "branches"],
}
ELSEWHERE = "meta"
"""A device that every machine has and that is not the default."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "small"
    save_world_model(path, make_small_world())
    return path


@dataclass
class Spy:
    """Takes the place of what a command calls, notes where the model was to go, and stops it."""

    devices: list[str] = field(default_factory=list)

    def watch(self, device_of: Callable[..., str]) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> None:
            self.devices.append(device_of(*given, **named))
            raise ConfigError("Far enough.")

        return called


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    found = Spy()
    targets: dict[str, Callable[..., str]] = {
        "reverie.serve.server.load_library": lambda *_, device, **__: device,
        "reverie.recipes.evaluation.run_evaluation": lambda run, **_: run.device,
        "reverie.recipes.calibration.run_calibration": lambda run, **_: run.device,
        "reverie.recipes.planning.run_planning": lambda *_, device, **__: device,
        "reverie.recipes.benches.run_bench": lambda _, order, **__: order.device,
    }
    for target, device_of in targets.items():
        monkeypatch.setattr(target, found.watch(device_of))
    return found


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == EXIT_USER_ERROR
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def typed(command: str, model: Path, *more: str) -> list[str]:
    free_port = ["--port", "0"] if command == "play" else []
    return [*COMMANDS[command], str(model), *free_port, *more]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_device_reaches_what_loads_the_model(
    command: str, model: Path, spy: Spy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(typed(command, model), capsys) == "reverie: Far enough."
    assert said(typed(command, model, "--device", "cpu"), capsys) == "reverie: Far enough."
    assert said(typed(command, model, "--device", ELSEWHERE), capsys) == "reverie: Far enough."
    assert spy.devices == ["cpu", "cpu", ELSEWHERE]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_device_that_is_none_is_one_line(
    command: str, model: Path, spy: Spy, capsys: pytest.CaptureFixture[str]
) -> None:
    line = said(typed(command, model, "--device", "teapot"), capsys)
    assert line == "reverie: 'teapot' is not a device. Try 'auto', 'cpu' or 'cuda'."
    assert not spy.devices


@pytest.mark.parametrize("command", COMMANDS)
def test_a_gpu_that_is_missing_is_one_line(
    command: str,
    model: Path,
    spy: Spy,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    line = said(typed(command, model, "--device", "cuda"), capsys)
    assert line == (
        f"reverie: The device 'cuda' was asked for, but torch {torch.__version__} sees no CUDA "
        f"device here. Use --device cpu; 'reverie doctor' says what is missing."
    )
    assert not spy.devices
