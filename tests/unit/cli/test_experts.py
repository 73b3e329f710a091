"""``reverie tasks experts`` as a user types it."""

import json
from pathlib import Path

import pytest

from reverie.cli import experts
from reverie.cli.main import main
from reverie.core.errors import MissingExtraError


def test_an_expert_is_shown_beside_noise_and_written_as_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    target = tmp_path / "experts.json"
    command = ["tasks", "experts", "toy-fall", "--episodes", "3", "--json", str(target)]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "toy-fall" in out
    assert "1 of 1 experts are above noise" in out
    numbers = json.loads(target.read_text())["toy-fall"]
    assert numbers["num_episodes"] == 3
    assert numbers["expert_score"] > numbers["baseline_score"]


def test_one_episode_is_no_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "experts", "toy-fall", "--episodes", "1"]) == 2
    assert "at least two episodes" in capsys.readouterr().err


def test_a_missing_simulator_is_listed_and_not_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(task: str, **_: object) -> None:
        raise MissingExtraError("Install it with: pip install 'reverie[sim]'")

    monkeypatch.setattr(experts, "measure_expert", missing)
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["tasks", "experts", "toy-fall"]) == 0
    out = capsys.readouterr().out
    assert "reverie[sim]" in out
    assert "0 of 0 experts" in out
