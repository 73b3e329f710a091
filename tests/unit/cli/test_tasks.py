"""``reverie tasks list | show | check`` as a user types them."""

import pytest

from reverie.cli import tasks
from reverie.cli.main import main
from reverie.core.errors import MissingExtraError
from reverie.envs.registry import task_names


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


def test_check_lists_a_missing_simulator_without_failing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(task: str, **_: object) -> None:
        raise MissingExtraError("Install it with: pip install 'reverie[sim]'")

    monkeypatch.setattr(tasks, "check_task", missing)
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["tasks", "check", "toy-paint"]) == 0
    assert "reverie[sim]" in capsys.readouterr().out
