"""Where larger fixtures lie that are not part of the repository."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FIXTURES = REPOSITORY / "tests" / "fixtures"


def shared_path(*parts: str) -> Path | None:
    """Find a file or folder among the shared fixtures; None where this checkout has none.

    Looks in the folder that REVERIE_SHARED names, else in ``../shared`` beside the repository.
    """
    root = Path(os.environ.get("REVERIE_SHARED") or REPOSITORY.parent / "shared")
    path = root.joinpath("fixtures", *parts)
    return path if path.exists() else None
