import os
import subprocess
import sys

import pytest

from reverie.cli import main as cli
from reverie.cli.main import Command, main
from tests.support.shared import REPOSITORY
from tools.check_commands import Mention, check_reverie

MODULE = "tests.support.commands"


@pytest.fixture
def fake_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("succeed", "find_fault", "refuse", "be_interrupted", "have_a_bug")
    single = [Command(words=name, target=f"{MODULE}:{name}", summary=".") for name in names]
    group = Command(words="things list", target=f"{MODULE}:COMMANDS", summary="List them.")
    monkeypatch.setattr(cli, "COMMANDS", (*single, group))
    monkeypatch.delenv("REVERIE_DEBUG", raising=False)


def test_help_names_every_command_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    bare = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == bare
    for command in cli.COMMANDS:
        assert f"{command.words} " in bare and command.summary in bare


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "reverie 0.1.0\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["tass"], "Unknown command 'tass'. Did you mean 'tasks'? 'reverie --help' lists all."),
        (["zzzz"], "Unknown command 'zzzz'. 'reverie --help' lists all."),
        (
            ["tasks", "lsit"],
            "Unknown 'reverie tasks' command 'lsit'. Did you mean 'list'? "
            "'reverie tasks --help' lists all.",
        ),
    ],
)
def test_an_unknown_command_is_answered_with_the_one_probably_meant(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    output = capsys.readouterr()
    assert output.err == f"reverie: {text}\n"
    assert output.out == ""


def test_a_group_alone_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 0
    text = capsys.readouterr().out
    assert "tasks show" in text and "collect" not in text


@pytest.mark.usefixtures("fake_commands")
def test_a_command_of_a_group_is_found_and_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["things", "list"]) == 0
    assert capsys.readouterr().out == "done\n"


@pytest.mark.usefixtures("fake_commands")
def test_the_exit_code_is_the_one_a_command_returns() -> None:
    assert main(["succeed"]) == 0
    assert main(["find_fault"]) == 1


@pytest.mark.usefixtures("fake_commands")
def test_an_error_of_the_user_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["refuse", "--width", "5"]) == 2
    assert capsys.readouterr().err == "reverie: width must be even, got 5. Try 4.\n"


@pytest.mark.usefixtures("fake_commands")
def test_the_trace_is_shown_when_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--debug", "refuse"]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("REVERIE_DEBUG", "1")
    assert main(["refuse"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.usefixtures("fake_commands")
def test_an_interruption_ends_with_a_friendly_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["be_interrupted"]) == 130
    assert "the same command goes on" in capsys.readouterr().err


@pytest.mark.usefixtures("fake_commands")
def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(AssertionError, match="impossible"):
        main(["have_a_bug"])


@pytest.mark.usefixtures("fake_commands")
def test_an_unknown_flag_ends_with_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["refuse", "--widht", "5"])
    assert end.value.code == 2
    assert "--width" in capsys.readouterr().err


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.words)
def test_every_command_exists_and_explains_itself(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([*command.words.split(), "--help"])
    assert end.value.code == 0
    assert f"usage: reverie {command.words}" in capsys.readouterr().out


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.words)
def test_the_examples_in_the_help_would_run(command: Command) -> None:
    assert check_reverie(Mention("help", tuple(command.line.split()), is_complete=True)) == ""


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )


def test_help_is_quick_and_imports_no_torch() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); from reverie.cli.main import main;"
        "main(['--help']); seconds = time.perf_counter() - start;"
        "heavy = {'torch', 'cv2', 'tyro', 'pygame', 'fastapi', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy; assert seconds < 1, seconds"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_a_reader_who_leaves_early_causes_no_noise() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    code = "import sys; from reverie.cli.main import main; sys.exit(main(['--help']))"
    process = subprocess.run(
        [sys.executable, "-c", code], stdout=write_end, stderr=subprocess.PIPE, check=False
    )
    os.close(write_end)
    assert process.returncode == 141
    assert process.stderr == b""
