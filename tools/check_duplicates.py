"""Copies: the same ten lines of code in two places of the package."""

import ast
import io
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path

MIN_LINES = 10
_SKIPPED = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}

_IMPORTS = (ast.Import, ast.ImportFrom)


@dataclass(frozen=True, slots=True)
class CodeLine:
    """One line of code without comment and indentation."""

    path: Path
    number: int
    text: str


def problems(root: Path) -> list[str]:
    """List pairs of places that share at least ten lines of code in a row."""
    seen: dict[tuple[str, ...], CodeLine] = {}
    found: list[str] = []
    for path in sorted((root / "src").rglob("*.py")):
        lines = code_lines(path)
        reported_until = 0
        for index in range(len(lines) - MIN_LINES + 1):
            window = lines[index : index + MIN_LINES]
            first = seen.setdefault(tuple(line.text for line in window), window[0])
            if first is window[0] or window[0].number <= reported_until:
                continue
            reported_until = window[-1].number
            found.append(
                f"{path.relative_to(root)}:{window[0].number}: the same {MIN_LINES} lines as "
                f"{first.path.relative_to(root)}:{first.number}; make one of the two"
            )
    return found


def code_lines(path: Path) -> list[CodeLine]:
    """Return the lines of a file that hold code; docstrings and imports are left out."""
    text = path.read_text()
    left_out = _documentation_and_imports(ast.parse(text))
    words: dict[int, list[str]] = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _SKIPPED and token.start[0] not in left_out:
            words.setdefault(token.start[0], []).append(token.string)
    # Lone brackets come from the formatter, not from whoever wrote the code.
    joined = {number: " ".join(parts) for number, parts in words.items()}
    return [
        CodeLine(path, number, line)
        for number, line in sorted(joined.items())
        if any(letter.isalnum() for letter in line)
    ]


def _documentation_and_imports(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and (is_text or isinstance(node, _IMPORTS)):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def main() -> int:
    """Print the problems; return 1 if there are any."""
    found = problems(Path(__file__).resolve().parents[1])
    print("\n".join(found) or "duplicates: none")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
