"""``reverie model list`` and ``reverie model inspect``, as they are typed."""

import json
from importlib import import_module
from pathlib import Path

import pytest

from reverie.cli.main import COMMANDS, main
from reverie.models import load
from reverie.models.load import save_world_model
from tests.support.small_world import make_small_world


def test_the_list_names_every_shipped_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_world_model(tmp_path / "pretrained" / "small", make_small_world())
    monkeypatch.setattr(load, "__file__", str(tmp_path / "load.py"))
    assert main(["model", "list"]) == 0
    out = capsys.readouterr().out
    assert "small" in out and "shortcut" in out and "MB" in out


def test_inspect_tells_sizes_tasks_and_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_world_model(tmp_path / "small", make_small_world(), card="# A small one\n")
    assert main(["model", "inspect", str(tmp_path / "small"), "--shapes"]) == 0
    out = capsys.readouterr().out
    assert "A small one" in out and "32x32 RGB" in out and "toy-fall" in out
    assert main(["model", "inspect", str(tmp_path / "small"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dynamics"]["context"] == 8


@pytest.mark.parametrize("group", ["data", "model", "tasks"])
def test_every_command_of_a_group_can_be_typed(group: str) -> None:
    listed = [command for command in COMMANDS if command.words.startswith(f"{group} ")]
    modules = {command.target.partition(":")[0] for command in listed}
    offered = [word for module in modules for word in import_module(module).COMMANDS]
    assert sorted(command.words.split()[1] for command in listed) == sorted(offered)


def test_a_dream_of_the_classic_family_is_listed_and_inspected_alike(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["model", "list"]) == 0
    out = capsys.readouterr().out
    assert "classic" in out and "cartpole" in out and "pocket" in out
    assert main(["model", "inspect", "cartpole", "--shapes"]) == 0
    out = capsys.readouterr().out
    assert "cartpole-v1-close" in out and "32x32 RGB" in out and "real return" in out
