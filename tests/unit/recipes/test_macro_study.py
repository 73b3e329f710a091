"""The study of macro-actions runs from a model folder to a table."""

import json
from pathlib import Path

import pytest

from reverie.cli.main import main
from tests.support import service


def test_the_study_plays_dreams_and_writes_where_they_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = service.save_classic(tmp_path / "dream"), tmp_path / "out"
    words = ["--rollouts", "30", "--steps", "6", "--out", str(out)]
    assert main(["study", "macro", str(folder), *words]) == 0
    numbers = json.loads((out / "macro.json").read_text())
    assert len(numbers["steps"]) == 6 and numbers["num_real"] == numbers["num_dreams"] == 30
    # An untrained model dies soon in its dreams, and never so soon for real.
    failure = numbers["first_failure"]
    assert 1 <= failure <= 5
    said = capsys.readouterr().out
    assert f"Dreams stop matching real play at macro step {failure}." in said
    assert (out / "macro.md").read_text() in said


def test_other_families_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = service.save_shortcut(tmp_path / "dream")
    assert main(["study", "macro", str(folder)]) == 2
    assert "dreams of the classic family" in capsys.readouterr().err
