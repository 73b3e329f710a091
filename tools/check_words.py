"""Words that do not belong in the package: devices named too low, names that tell nothing."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

DEVICE_FLOORS = ("cli", "parallel")
EMPTY_SUFFIXES = ("Manager", "Handler", "Processor", "Helper")


def problems(root: Path) -> list[str]:
    """List the places that use such words."""
    package = root / "src" / "reverie"
    return [
        f"{path.relative_to(root)}:{problem}"
        for path in sorted(package.rglob("*.py"))
        for problem in _problems(
            ast.parse(path.read_text()), path.relative_to(package).parts[0] in DEVICE_FLOORS
        )
    ]


def _problems(tree: ast.Module, may_name_devices: bool) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if text.partition(":")[0] == "cuda":
                if not may_name_devices:
                    yield f"{node.lineno}: follow the device of the inputs instead of 'cuda'"
            case ast.ImportFrom(module="__future__"):
                yield f"{node.lineno}: the shape checker needs real annotations"
            case ast.ClassDef(name=name) if name.endswith(EMPTY_SUFFIXES):
                yield f"{node.lineno}: say what {name} does"
            case ast.Call(func=ast.Attribute(attr="squeeze"), args=[], keywords=[]):
                yield f"{node.lineno}: squeeze needs an axis"
            case _:
                pass


def main() -> int:
    """Print the problems; return 1 if there are any."""
    found = problems(Path(__file__).resolve().parents[1])
    print("\n".join(found) or "words: in order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
