"""``reverie tasks list | show | check | gallery`` as a user types them."""

import json
from pathlib import Path

import numpy as np
import pytest

from reverie.cli import tasks
from reverie.cli.main import main
from reverie.envs.registry import task_names
from reverie.envs.survey import TaskOutcome


def test_list_names_every_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "list", "--plain"]) == 0
    assert capsys.readouterr().out.split() == list(task_names())


def test_list_keeps_to_a_domain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "list", "--plain", "--domain", "toy"]) == 0
    assert capsys.readouterr().out.split() == ["toy-paint", "toy-fall"]


def test_an_unknown_domain_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "list", "--domain", "miniarcad"]) == 2
    assert "Unknown domain 'miniarcad'. Did you mean 'miniarcade'?" in capsys.readouterr().err


def test_the_table_has_a_row_per_task(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["tasks", "list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in task_names())
    assert "Score against an AI opponent" in out


def test_show_tells_the_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "show", "pygame-pong"]) == 0
    out = capsys.readouterr().out
    assert "0 move down" in out
    assert "clip((return + 3) / 6, 0, 1)" in out


def test_show_answers_a_misspelt_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "show", "pygame-pongg"]) == 2
    assert "Did you mean 'pygame-pong'?" in capsys.readouterr().err


def test_check_reports_a_good_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "check", "toy-paint", "--size-px", "32"]) == 0
    out = capsys.readouterr().out
    assert "toy-paint" in out
    assert "ok" in out


def test_check_writes_the_counts_as_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "tasks.json"
    words = ["tasks", "check", "toy-paint", "toy-fall", "--size-px", "32", "--steps", "5"]
    assert main([*words, "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    assert (report["registered"], report["ok"], report["failed"]) == (2, 2, [])
    assert "2 tasks: 2 ok, 0 failed, 0 need assets" in capsys.readouterr().out


def test_check_wants_names_or_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "check"]) == 2
    assert "Name the tasks to check, or pass --all" in capsys.readouterr().err


def test_a_broken_promise_is_an_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = TaskOutcome(task="toy-paint", status="failed", message="A score leaves [0, 1].")
    monkeypatch.setattr(tasks, "survey", lambda *_, **__: iter([broken]))
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["tasks", "check", "toy-paint"]) == 1
    assert "A score leaves [0, 1]." in capsys.readouterr().out


def test_check_lists_a_missing_simulator_without_failing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "Install it with: pip install 'reverie[sim]'"
    lacking = TaskOutcome(task="toy-paint", status="needs extra", message=text)
    monkeypatch.setattr(tasks, "survey", lambda *_, **__: iter([lacking]))
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["tasks", "check", "toy-paint"]) == 0
    assert "reverie[sim]" in capsys.readouterr().out


def test_the_gallery_has_a_frame_per_task(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "gallery.png"
    words = ["tasks", "gallery", "--domain", "toy", "--size-px", "32", "--out", str(file)]
    assert main(words) == 0
    assert "2 of 2 tasks" in capsys.readouterr().out
    assert file.read_bytes().startswith(b"\x89PNG")


def test_a_gallery_is_small_as_webp_and_refused_in_other_formats(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = np.zeros((32, 32, 3), dtype=np.uint8)
    drawn = [TaskOutcome(task=name, status="ok", frame=frame) for name in ("toy-paint", "toy-fall")]
    monkeypatch.setattr(tasks, "survey", lambda *_, **__: iter(drawn))
    file = tmp_path / "gallery.webp"
    assert main(["tasks", "gallery", "--domain", "toy", "--out", str(file)]) == 0
    assert file.read_bytes()[8:12] == b"WEBP"
    assert main(["tasks", "gallery", "--domain", "toy", "--out", "gallery.gif"]) == 2
    assert "written as PNG or WebP, got --out gallery.gif." in capsys.readouterr().err
