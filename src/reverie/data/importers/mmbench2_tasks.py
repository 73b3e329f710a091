"""The release's table of tasks, as far as data needs it."""

import json
from pathlib import Path

from reverie.core.errors import DataError
from reverie.data.importers.mmbench2_rows import RELEASE_ACTION_LANES


def read_action_widths(path: Path) -> dict[str, int]:
    """Read how many action lanes each task of ``tasks.json`` uses.

    Raises:
        DataError: It is not such a file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"'{path}' cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict) or not content:
        raise DataError(f"'{path}' is no table of tasks: expected names with their facts.")
    widths: dict[str, int] = {}
    for name, facts in content.items():
        width = facts.get("action_dim") if isinstance(facts, dict) else None
        if type(width) is not int or not 0 < width <= RELEASE_ACTION_LANES:
            raise DataError(
                f"'{path}': the action_dim of '{name}' is {str(width)[:40]!r}, expected 1 to "
                f"{RELEASE_ACTION_LANES}."
            )
        widths[name] = width
    return widths
