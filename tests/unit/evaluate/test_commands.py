"""``reverie evaluate`` and ``reverie demo`` as they are typed."""

import json
from pathlib import Path

import pytest

from reverie.cli.main import EXIT_USER_ERROR, main
from reverie.models.load import save_world_model
from tests.support.small_world import make_small_world


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "small"
    save_world_model(path, make_small_world())
    return path


def test_demo_without_serving_writes_the_numbers(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = tmp_path / "numbers.json"
    words = ["demo", "--model", str(folder), "--tasks", "toy-paint", "--out", str(tmp_path)]
    assert main([*words, "--no-serve", "--json", str(numbers)]) == 0
    row = json.loads(numbers.read_text())["tasks"]["toy-paint"]
    assert {
        "reconstruction_psnr_db",
        "rollout_gain_db",
        "action_shuffle_ratio",
        "dream_fps",
    } <= set(row)
    shown = capsys.readouterr().out
    assert "toy-paint" in shown and "report.html" in shown
    assert (tmp_path / "report.html").exists()


def test_evaluate_fits_limits_when_asked(folder: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(folder), "--tasks", "toy-fall", "--episodes", "2"]
    assert not (folder / "readings.json").exists()
    assert main([*words, "--out", str(tmp_path), "--fit-thresholds"]) == 0
    limits = json.loads((folder / "readings.json").read_text())
    assert set(limits["tasks"]["toy-fall"]["limits"]) == {"u_r", "u_f", "u_s"}
    assert limits["setup"]["commit_signal"] == 0.75
    # Fitting another task keeps them.
    words = ["evaluate", str(folder), "--tasks", "toy-paint", "--episodes", "1"]
    assert main([*words, "--out", str(tmp_path), "--fit-thresholds"]) == 0
    found = json.loads((folder / "readings.json").read_text())["tasks"]
    assert found.keys() == {"toy-fall", "toy-paint"}
    assert found["toy-fall"] == limits["tasks"]["toy-fall"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["evaluate", "no-such-model"], "Unknown model 'no-such-model'"),
        (["demo", "--model", "./nowhere", "--no-serve"], "is not a model folder"),
    ],
)
def test_a_model_that_does_not_exist_is_one_line(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == EXIT_USER_ERROR
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1
