"""Writing files so that a reader sees the old content or the new, never half of it."""

import hashlib
import json
import os
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SEAL = "checksum"
"""Key of a JSON object's own checksum."""


@contextmanager
def atomic_path(path: Path) -> Generator[Path, None, None]:
    """Yield a temporary name beside ``path``; rename it to ``path`` if the block succeeds.

    The content is flushed to the disk before the rename, so that a crash at any moment leaves
    either the old file or the whole new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept: image and array writers choose the format by it.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp{path.suffix}")
    try:
        temporary.touch()
        usual = temporary.stat().st_mode
        yield temporary
        # Some writers put a file of their own here, which others could not read.
        temporary.chmod(usual)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, keys in the given order."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with a checksum of its content as the last key, for ``read_sealed``."""
    write_json(path, {**value, SEAL: _seal(dict(value))})


def read_sealed(path: Path) -> Any:
    """Read JSON and check and take off its checksum; files of older versions have none.

    Raises:
        ValueError: It is not JSON, or was changed after it was written.
    """
    value = json.loads(path.read_bytes())
    if not isinstance(value, dict) or SEAL not in value:
        return value
    seal = value.pop(SEAL)
    if seal != _seal(value):
        raise ValueError(
            f"its checksum does not fit its content; if you changed the file by hand, delete its "
            f"line '{SEAL}'"
        )
    return value


def _seal(value: dict[str, Any]) -> str:
    # Of the meaning, not of the bytes: neither indentation nor the order of keys matters.
    return digest(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def digest(content: bytes) -> str:
    """Return the BLAKE2b checksum (16 bytes, hex) that Reverie's files carry."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """Return the checksum of a file, read in one-megabyte pieces."""
    running = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            running.update(piece)
    return running.hexdigest()
