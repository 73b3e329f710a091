"""Commands in README and docs: ``reverie …`` parses, ``make …`` has a target, scripts exist."""

import functools
import io
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from reverie.cli.main import find_function
from reverie.core.errors import ReverieError

_SHELL_ENDS = {"|", "||", "&&", ">", ">>", ";", "&", "2>"}
_OWN_FLAGS = (["--version"], ["--help"])


@dataclass(frozen=True, slots=True)
class Mention:
    """One command as a document names it."""

    where: str
    words: tuple[str, ...]
    is_complete: bool
    """From a code block: must parse as it stands. Inline code may leave arguments out."""


def problems(root: Path) -> list[str]:
    """List the commands of the documents that would not work."""
    targets = set(re.findall(r"^([a-z][a-z-]*):", (root / "Makefile").read_text(), re.MULTILINE))
    found: list[str] = []
    for path in documents(root):
        for mention in mentions(path.read_text(), str(path.relative_to(root))):
            match mention.words[0]:
                case "make":
                    problem = check_make(mention, targets)
                case "python":
                    problem = check_script(mention, root)
                case _:
                    problem = check_reverie(mention)
            if problem:
                found.append(f"{mention.where}: {' '.join(mention.words)}: {problem}")
    return found


def check_make(mention: Mention, targets: set[str]) -> str:
    """Look every target up; settings and words in capitals are no targets."""
    words = [word for word in mention.words[1:] if word.islower() and "=" not in word]
    unknown = [word for word in words if word not in targets]
    return f"no such target: {' '.join(unknown)}" if unknown else ""


def check_script(mention: Mention, root: Path) -> str:
    """Look for the script that Python is told to run."""
    name = mention.words[1]
    return f"no such script: {name}" if name.endswith(".py") and not (root / name).exists() else ""


def documents(root: Path) -> list[Path]:
    """List the documents whose commands are checked."""
    names = ("README.md", "CONTRIBUTING.md")
    return [root / name for name in names if (root / name).exists()] + sorted(
        (root / "docs").glob("*.md")
    )


def mentions(text: str, name: str) -> Iterator[Mention]:
    """Find commands in code blocks (whole lines) and in inline code."""
    is_block, pending, start = False, "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            is_block, pending = not is_block, ""
            continue
        if not is_block:
            for code in re.findall(r"`((?:reverie|make|python) [^`]+)`", line):
                yield from _mention(code, f"{name}:{number}", is_complete=False)
            continue
        start = start if pending else number
        pending += line.strip().removeprefix("$ ")
        if pending.endswith("\\"):
            pending = pending[:-1]
            continue
        yield from _mention(pending, f"{name}:{start}", is_complete=True)
        pending = ""


def _mention(text: str, where: str, *, is_complete: bool) -> Iterator[Mention]:
    text = text.removeprefix(".venv/bin/")
    if not text.startswith(("reverie ", "make ", "python ")):
        return
    words: list[str] = []
    for word in shlex.split(text, comments=True):
        if word in _SHELL_ENDS:
            break
        words.append(word)
    yield Mention(where, tuple(words), is_complete)


def check_reverie(mention: Mention) -> str:
    """Parse a command without running it; return what is wrong, or an empty text."""
    words = [word for word in mention.words[1:] if word not in ("…", "...")]
    if words and words[0] == "--debug":
        words = words[1:]
    # A word in capitals stands for any command.
    if not words or words in _OWN_FLAGS or words[0].isupper():
        return ""
    try:
        function, name, rest = find_function(words)
    except (ReverieError, ImportError) as error:
        return str(error)
    if function is None:
        return ""
    if not mention.is_complete:
        _, known = _parse(function, ["--help"], name)
        flags = [word.partition("=")[0] for word in rest if word.startswith("--")]
        lost = [flag for flag in flags if not re.search(rf"{flag}\b", known)]
        return f"no such flag: {' '.join(lost)}" if lost else ""
    code, output = _parse(function, rest, name)
    return output if code else ""


def _parse(function: Callable[..., Any], arguments: list[str], name: str) -> tuple[int, str]:
    @functools.wraps(function)
    def do_nothing(*_args: Any, **_keywords: Any) -> None:
        """Stand in for the command."""

    output = io.StringIO()
    try:
        with redirect_stdout(output), redirect_stderr(output):
            tyro.cli(do_nothing, args=arguments, prog=f"reverie {name}")
    except SystemExit as end:
        return int(end.code or 0), output.getvalue()
    return 0, output.getvalue()


def main() -> int:
    """Print the problems; return 1 if there are any."""
    found = problems(Path(__file__).resolve().parents[1])
    print("\n".join(found) or "commands in the documents: in order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
