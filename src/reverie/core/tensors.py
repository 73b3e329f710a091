"""Torch files from elsewhere, read without running anything that is in them.

A torch file is a zip archive: a pickle that describes, and raw numbers. Its checksums are verified
first (torch itself does not look at them), then the pickle goes through torch's restricted
unpickler, which knows tensors and plain containers and calls nothing else.
"""

import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from reverie.core.errors import DataError, ReverieError

MAX_PICKLE_BYTES = 64 << 20
"""A description longer than this is none; numbers lie outside of it."""

_FIRST_RECORD, _LAST_RECORD, _LAST_RECORD_BYTES = b"PK\3\4", b"PK\5\6", 22

Marker = tuple[Callable[..., Any], str]
"""A harmless local stand-in, and the full name that a pickle calls it by."""


def load_tensors(
    path: Path,
    *,
    stand_ins: Sequence[Marker] = (),
    error: type[ReverieError] = DataError,
    is_verified: bool = False,
) -> Any:
    """Read tensors and plain containers from a torch file.

    Args:
        path: The file.
        stand_ins: Local functions that take the place of foreign names.
        error: Kind of error to raise.
        is_verified: The caller compared a checksum of the whole file: it may be of the older kind
            that is no archive and has none of its own.

    Raises:
        ReverieError: Of the given kind: the file is missing, damaged, or names something that is
            neither a tensor nor a plain container. Nothing of it was run.
    """
    if not is_verified:
        _check_archive(path, error)
    try:
        with torch.serialization.safe_globals(list(stand_ins)):
            return torch.load(path, map_location="cpu", weights_only=True)
    # A process edge of its own: a hostile description can make the unpickler raise anything.
    except Exception as problem:  # noqa: BLE001
        raise error(f"'{path}' {_reason(problem)}") from problem


def _reason(problem: Exception) -> str:
    text = " ".join(str(problem).split())
    found = re.search(r"GLOBAL ([\w.]+)", text)
    if found:
        named = f"'{found.group(1)}'"
        return (
            f"wants to run {named}, which is neither a tensor nor a plain container. Nothing was "
            f"run. Use a file from a source you trust that holds only tensors."
        )
    return (
        f"is not a torch file of tensors and plain containers: {type(problem).__name__}: "
        f"{text[:200]} Download it again."
    )


def _check_archive(path: Path, error: type[ReverieError]) -> None:
    """Verify the archive's own checksums, and that it does not unpack to more than it is."""
    try:
        size = path.stat().st_size
    except OSError as problem:
        raise error(f"'{path}' cannot be read: {problem.strerror or problem}.") from problem
    with path.open("rb") as stream:
        start = stream.read(len(_FIRST_RECORD))
        stream.seek(max(size - _LAST_RECORD_BYTES, 0))
        end = stream.read()
    # A zip reader forgives what stands before or behind the archive; here it means damage.
    if start != _FIRST_RECORD or end[:4] != _LAST_RECORD or end[-2:] != b"\0\0":
        raise error(f"'{path}' is damaged, truncated or no torch file. Download it again.")
    try:
        with zipfile.ZipFile(path) as archive:
            for item in archive.infolist():
                is_long = item.filename.endswith(".pkl") and item.file_size > MAX_PICKLE_BYTES
                if item.compress_type != zipfile.ZIP_STORED or item.file_size > size or is_long:
                    raise error(
                        f"'{path}' holds '{item.filename}' in a form that torch never writes "
                        f"({item.file_size} bytes). Download it again."
                    )
            bad = archive.testzip()
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        ValueError,
        EOFError,
        IndexError,
        NotImplementedError,
        RuntimeError,
    ) as problem:
        raise error(
            f"'{path}' is damaged, truncated or no torch file: {problem}. Download it again."
        ) from problem
    if bad is not None:
        raise error(f"'{path}' is damaged: the checksum of '{bad}' is wrong. Download it again.")
