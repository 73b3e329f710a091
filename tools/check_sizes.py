"""Sizes and names: files up to 500 lines, functions up to 60, parameters up to 8, telling names."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 8
TELLS_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc"}
FOLDERS = ("src", "tests", "tools", "benchmarks")

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def problems(root: Path) -> list[str]:
    """List what is too long, takes too much, or has a name that tells nothing."""
    found: list[str] = []
    for path in python_files(root):
        name = path.relative_to(root)
        if TELLS_NOTHING & {part.removesuffix(".py") for part in name.parts}:
            found.append(f"{name}: name the file after the one idea in it")
        text = path.read_text()
        num_lines = len(text.splitlines())
        if num_lines > MAX_FILE_LINES:
            found.append(f"{name}: {num_lines} lines, at most {MAX_FILE_LINES}")
        found += [f"{name}:{problem}" for problem in _function_problems(ast.parse(text))]
    return found


def python_files(root: Path, folders: tuple[str, ...] = FOLDERS) -> Iterator[Path]:
    """Iterate over the Python files of the repository, sorted."""
    for folder in folders:
        yield from sorted((root / folder).rglob("*.py"))


def _function_problems(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, FunctionNode):
            continue
        num_lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if num_lines > MAX_FUNCTION_LINES:
            yield f"{node.lineno}: {node.name} has {num_lines} lines, at most {MAX_FUNCTION_LINES}"
        num_parameters = _count_parameters(node)
        if num_parameters > MAX_PARAMETERS:
            yield (
                f"{node.lineno}: {node.name} takes {num_parameters} parameters, "
                f"at most {MAX_PARAMETERS}"
            )


def _count_parameters(node: FunctionNode) -> int:
    names = [item.arg for item in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def main() -> int:
    """Print the problems; return 1 if there are any."""
    found = problems(Path(__file__).resolve().parents[1])
    print("\n".join(found) or "sizes and names: in order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
