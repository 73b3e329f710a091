"""What ``--json`` does in every command that measures and says so."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from reverie.core.files import write_json


def write_numbers(
    console: Console, numbers: Mapping[str, Any] | Sequence[Any], path: Path | None
) -> None:
    """Write the numbers where they are wanted, and say where; None writes nothing."""
    if path is not None:
        write_json(path, numbers)
        console.print(f"Numbers: {path}", soft_wrap=True)
