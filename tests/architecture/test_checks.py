"""The checks of tools/: this repository passes them, and each of them can fail."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.shared import REPOSITORY
from tools import check_commands, check_duplicates, check_links, check_sizes, check_words

CHECKS = (check_sizes, check_words, check_duplicates, check_commands, check_links)

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write_file


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.split(".")[-1])
def test_this_repository_is_in_order(check: object) -> None:
    assert check.problems(REPOSITORY) == []  # type: ignore[attr-defined]


def test_long_files_functions_and_parameter_lists_are_found(tmp_path: Path, write: Write) -> None:
    write("src/long.py", "a = 1\n" * 501)
    write("src/function.py", "def slow():\n" + "    a = 1\n" * 60)
    write("src/wide.py", "class A:\n    def wide(self, a, b, c, d, e, f, g, h, *, i): ...\n")
    write("src/fits.py", "class A:\n    def fits(self, a, b, c, d, e, f, g, h): ...\n")
    write("src/utils.py", "")
    write("src/helpers/a.py", "")
    assert check_sizes.problems(tmp_path) == [
        "src/function.py:1: slow has 61 lines, at most 60",
        "src/helpers/a.py: name the file after the one idea in it",
        "src/long.py: 501 lines, at most 500",
        "src/utils.py: name the file after the one idea in it",
        "src/wide.py:2: wide takes 9 parameters, at most 8",
    ]


def test_words_that_do_not_belong_are_found(tmp_path: Path, write: Write) -> None:
    text = 'class CacheManager: ...\nx.squeeze()\nx.squeeze(dim=0)\nx.to("cuda:0")\n'
    write("src/reverie/nn/a.py", text)
    write("src/reverie/cli/b.py", 'x.to("cuda")\n')
    write("src/reverie/core/c.py", "from __future__ import annotations\n")
    assert check_words.problems(tmp_path) == [
        "src/reverie/core/c.py:1: the shape checker needs real annotations",
        "src/reverie/nn/a.py:1: say what CacheManager does",
        "src/reverie/nn/a.py:2: squeeze needs an axis",
        "src/reverie/nn/a.py:4: follow the device of the inputs instead of 'cuda'",
    ]


def test_ten_copied_lines_are_found_whatever_their_comments_and_indentation(
    tmp_path: Path, write: Write
) -> None:
    lines = [f"value_{number} = load({number})" for number in range(10)]
    write("src/a.py", "import os\n" + "\n".join(lines) + "\n")
    write("src/b.py", "def f():\n    " + "  # why\n\n    ".join(lines) + "\n")
    (problem,) = check_duplicates.problems(tmp_path)
    assert problem == "src/b.py:2: the same 10 lines as src/a.py:2; make one of the two"
    write("src/b.py", "def f():\n    " + "\n    ".join(lines[1:]) + "\n")
    assert check_duplicates.problems(tmp_path) == []


def test_imports_and_docstrings_may_repeat(tmp_path: Path, write: Write) -> None:
    text = '"""One\n' + "two\n" * 12 + '"""\n' + "".join(f"import m{n}\n" for n in range(12))
    write("src/a.py", text)
    write("src/b.py", text)
    assert check_duplicates.problems(tmp_path) == []


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("```\nreverie docter\n```", "Did you mean 'doctor'"),
        ("```bash\n.venv/bin/reverie doctor --jsno  # all\n```", "--jsno"),
        ("```\n$ reverie doctor \\\n   --nope | head\n```", "--nope"),
        ("Run `reverie doctor --nope`.", "no such flag: --nope"),
        ("Run `reverie docter`.", "Did you mean 'doctor'"),
        ("Run `make tset`.", "no such target: tset"),
        ("Run `python benchmarks/gone.py --json a`.", "no such script: benchmarks/gone.py"),
    ],
)
def test_a_documented_command_that_would_fail_is_found(
    tmp_path: Path, write: Write, document: str, text: str
) -> None:
    write("Makefile", "test: setup\n\ttrue\nsetup:\n")
    write("README.md", f"Hello\n{document}\n")
    (problem,) = check_commands.problems(tmp_path)
    assert problem.startswith(("README.md:2:", "README.md:3:"))
    assert text in problem


def test_documented_commands_that_work_pass(tmp_path: Path, write: Write) -> None:
    write("Makefile", "test: setup\n\ttrue\n")
    write(
        "docs/a.md",
        "`reverie doctor --json`, `reverie COMMAND --help`, `make test`, `python -m pip`\n"
        "```\nreverie doctor --json > out.json\nreverie --version\nls\nreverie doctor --help\n```",
    )
    assert check_commands.problems(tmp_path) == []


def test_a_link_to_nothing_is_found(tmp_path: Path, write: Write) -> None:
    write("docs/a.md", "[b](b.md#part) [up](../README.md) [web](https://example.org) [no](no.md)")
    write("docs/b.md", "")
    write("README.md", "![picture](docs/gone.png)")
    assert check_links.problems(tmp_path) == [
        "README.md: docs/gone.png does not exist",
        "docs/a.md: no.md does not exist",
    ]


def test_the_lock_pins_everything_that_the_package_asks_for() -> None:
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert all(version.replace(".", "").isalnum() for version in pins.values())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    for text in [*project["dependencies"], *(item for extra in extras for item in extra)]:
        requirement = Requirement(text)
        if requirement.name == "reverie":  # the extra that is all simulators names the others
            assert requirement.extras <= project["optional-dependencies"].keys()
            continue
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier
    assert (pins["numpy"], pins["torch"], pins["pygame-ce"]) == ("1.26.4", "2.13.0", "2.5.8")
