"""Metrics of a run as JSON lines: append-only, readable while it runs, cut back on resume."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from reverie.core.errors import DataError
from reverie.core.files import write_bytes


class MetricWriter:
    """Appends one line ``{"step": …, name: value, …}`` per call, flushed at once.

    A line is written by a single call, so that a crash leaves whole lines and at most one torn
    last line, which ``read_metrics`` ignores and the next writer removes.
    """

    def __init__(self, path: Path, *, resume_step: int | None = None) -> None:
        """Open a file for appending.

        Args:
            path: The ``.jsonl`` file; made, with its folder, if it does not exist.
            resume_step: Lines of later steps are removed first, because the run is about to
                repeat them; None starts an empty file.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._last_step = -1
        kept = b""
        if resume_step is not None and path.exists():
            lines = [line for line in _whole_lines(path) if _step(line, path) <= resume_step]
            kept = b"".join(line + b"\n" for line in lines)
            self._last_step = max((_step(line, path) for line in lines), default=-1)
        write_bytes(path, kept)
        self._stream = path.open("ab", buffering=0)

    def write(self, step: int, values: Mapping[str, float | int | str]) -> None:
        """Append the values of one step; steps never go back. A value that is not finite is kept.

        Raises:
            ValueError: ``step`` is smaller than one written before.
        """
        if step < self._last_step:
            raise ValueError(
                f"Metrics go forward: step {step} comes after {self._last_step}. "
                f"Open the file with resume_step to repeat steps."
            )
        self._last_step = step
        row = {"step": step} | {name: _plain(value) for name, value in values.items()}
        self._stream.write(json.dumps(row).encode() + b"\n")

    def close(self) -> None:
        """Close the file; calling it again does nothing."""
        self._stream.close()

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()


def read_metrics(path: Path) -> list[dict[str, float | int | str]]:
    """Read all whole lines; a torn last line is left out, not-finite values come back as such.

    Raises:
        DataError: The file is missing, or a line that is not the last one is not JSON.
    """
    if not path.exists():
        raise DataError(f"There are no metrics at '{path}'. Check the run's name.")
    return [_parse(line, path) for line in _whole_lines(path)]


def _whole_lines(path: Path) -> list[bytes]:
    # What follows the last newline is either empty or torn.
    return path.read_bytes().split(b"\n")[:-1]


def _step(line: bytes, path: Path) -> int:
    return int(_parse(line, path)["step"])


def _parse(line: bytes, path: Path) -> dict[str, float | int | str]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(
            f"'{path}' holds a line that is not JSON: {line[:60]!r}. Remove that line."
        ) from error
    if not isinstance(row, dict) or "step" not in row:
        raise DataError(f"'{path}' holds a line without a step: {line[:60]!r}. Remove that line.")
    values: dict[str, Any] = row
    return {name: _number(value) for name, value in values.items()}


# JSON has no words for these; as text they survive in every reader.
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _number(value: Any) -> Any:
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _plain(value: float | int | str) -> float | int | str:
    if not isinstance(value, float) or math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
