"""Links and pictures in README and docs: what they point to in the repository exists."""

import re
import sys
from pathlib import Path


def problems(root: Path) -> list[str]:
    """List links to files that do not exist; links to the web are not followed."""
    found: list[str] = []
    for path in [*sorted(root.glob("*.md")), *sorted((root / "docs").glob("*.md"))]:
        text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            place = target.partition("#")[0]
            if place and "://" not in place and not (path.parent / place).exists():
                found.append(f"{path.relative_to(root)}: {target} does not exist")
    return found


def main() -> int:
    """Print the problems; return 1 if there are any."""
    found = problems(Path(__file__).resolve().parents[1])
    print("\n".join(found) or "links in the documents: in order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
