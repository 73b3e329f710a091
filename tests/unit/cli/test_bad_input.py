"""Bad input, as it is typed: one line that says what was given and what to do, and no trace."""

import shutil
import socket
import sys
from pathlib import Path

import pytest

from reverie.cli.main import EXIT_USER_ERROR, main
from reverie.core.files import read_sealed, write_sealed
from reverie.models.load import save_world_model
from tests.support.small_world import make_small_world


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "small"
    save_world_model(path, make_small_world())
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "episodes"
    words = ["collect", "toy-fall", "--policies", "noop", "--episodes", "1", "--size-px", "24"]
    assert main([*words, "--out", str(path), "--workers", "0"]) == 0
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REVERIE_DEBUG", raising=False)


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(words) == EXIT_USER_ERROR
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize("words", [["collect"], ["train", "pocket", "--tasks"], ["tasks", "show"]])
def test_an_unknown_task(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    line = said([*words, "pygame-pon"], capsys)
    assert line.startswith("reverie: Unknown task 'pygame-pon'. Did you mean 'pygame-pong'? ")
    assert "'reverie tasks list' shows all" in line


@pytest.mark.parametrize("words", [["evaluate"], ["demo", "--no-serve", "--model"]])
def test_a_task_that_the_model_does_not_know(
    words: list[str], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said([*words, str(model), "--tasks", "toy-pant"], capsys) == (
        "reverie: Unknown task 'toy-pant'. Did you mean 'toy-paint'? The model knows: toy-paint, "
        "toy-fall."
    )


def test_frames_of_the_wrong_shape(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["collect", "toy-fall", "--out", str(store), "--size-px", "32", "--workers", "0"]
    assert said(words, capsys) == (
        f"reverie: {store} holds 24x24 frames as webp, asked for 32x32 frames as webp. Use the "
        f"same, or choose another folder."
    )


@pytest.mark.usefixtures("without_shape_checks")
def test_a_store_whose_frames_do_not_fit_the_model(
    store: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(model), "--tasks", "toy-fall", "--data", str(store)]
    assert said(words, capsys) == (
        "reverie: This tokenizer reads frames of (32, 32, 3), got (24, 24, 3). Resize the frames "
        "(area resampling) or retrain."
    )


@pytest.mark.parametrize("words", [["data", "show"], ["evaluate", "MODEL", "--data"]])
def test_a_truncated_shard(
    words: list[str], store: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Path("broken")
    shutil.copytree(store, broken)
    (frames,) = (broken / "shards").glob("*.frames")
    size = frames.stat().st_size
    with frames.open("rb+") as stream:
        stream.truncate(size - 100)
    words = [str(model) if word == "MODEL" else word for word in words]
    assert said([*words, str(broken)], capsys) == (
        f"reverie: {frames} is truncated: {size - 100} bytes where {size} are listed. Copy it "
        f"again from its source, or run 'reverie data check {broken} --repair' to move damaged "
        f"shards aside, and collect the missing episodes again."
    )


def damage(folder: Path, how: str) -> None:
    if how == "no manifest":
        (folder / "model.json").unlink()
    elif how == "no JSON":
        (folder / "model.json").write_text("{")
    elif how == "another version":
        path = folder / "model.json"
        write_sealed(path, read_sealed(path) | {"format_version": 9})
    elif how == "another kind":
        path = folder / "model.json"
        write_sealed(path, read_sealed(path) | {"kind": "vae"})
    elif how == "a number changed by hand":
        path = folder / "model.json"
        write_sealed(path, read_sealed(path))
        path.write_text(path.read_text().replace('"num_levels": ', '"num_levels": 1'))
    elif how == "no weights":
        (folder / "dynamics.safetensors").unlink()
    elif how == "other weights":
        shutil.copy(folder / "tokenizer.safetensors", folder / "dynamics.safetensors")


@pytest.mark.parametrize("command", ["evaluate", "play", "model inspect"])
@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("no manifest", "'wrong' is not a model folder: it has no model.json. A training run"),
        ("no JSON", "Export the model again."),
        ("another version", "has format version 9; this Reverie reads version 1. Use the Reverie"),
        ("another kind", "is a model of kind 'vae'; this"),
        ("a number changed by hand", "its checksum does not fit its content"),
        ("no weights", "'wrong/dynamics.safetensors' is missing. Copy the whole model folder"),
        ("other weights", "'wrong/dynamics.safetensors' is damaged: its checksum is not the one"),
    ],
)
def test_a_wrong_checkpoint(
    command: str, how: str, text: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(model, "wrong")
    damage(Path("wrong"), how)
    flags = ["--no-browser", "--port", "0"] if command == "play" else []
    assert text in said([*command.split(), "./wrong", *flags], capsys)


@pytest.mark.parametrize("words", [["play"], ["demo", "--model"]])
def test_a_port_in_use_is_told_before_anything_is_measured(
    words: list[str], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = said([*words, str(model), "--no-browser", "--port", str(port)], capsys)
    assert line == (
        f"reverie: Port {port} on 127.0.0.1 is in use. Stop the program that uses it, or choose "
        f"another port: --port {port + 1}"
    )
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        (["play"], "fastapi", "play"),
        (["play"], "uvicorn", "play"),
        (["play"], "websockets", "play"),
        (["demo", "--model"], "fastapi", "play"),
        (["demo", "--model"], "websockets", "play"),
        (["demo", "--no-serve", "--model"], "matplotlib", "eval"),
        (["evaluate"], "matplotlib", "eval"),
    ],
)
def test_a_missing_extra_is_told_before_anything_is_measured(
    words: list[str],
    package: str,
    extra: str,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    # None in the table of modules reads as "not installed".
    monkeypatch.setitem(sys.modules, package, None)
    line = said([*words, str(model)], capsys)
    assert line.startswith(f"reverie: The package '{package}' is needed to ")
    assert line.endswith(f"Install it with: pip install 'reverie[{extra}]'")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["collect", "toy-fall", "--workers", "-3"],
            "The number of worker processes must be 0 (play in this one) or more, got -3. Try 2.",
        ),
        (["collect", "toy-fall", "--size-px", "0"], "at least 1x1, got 0x0. Try 64x64."),
        (
            ["data", "show", "STORE", "--out", "sheet.png", "--rows", "0"],
            "at least 1 row per task and 1 column, got 0 and 10. Try 2 and 10.",
        ),
        (["evaluate", "MODEL", "--episodes", "0"], "got 0, 100 and 16. Try --episodes 8."),
        (["play", "MODEL", "--sessions", "0"], "at least one session, got 0. Try --sessions 8."),
    ],
)
def test_numbers_that_cannot_be(
    words: list[str], text: str, model: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {"MODEL": str(model), "STORE": str(store)}
    assert text in said([paths.get(word, word) for word in words], capsys)
