"""One shard on disk: a file of frame strips and a small table, which is renamed last.

A writer appends the strips of an episode to its own ``.frames`` file, flushes them, then writes
the whole table anew under a temporary name and renames it. So a table never lists what is not
on the disk, and writers never need a lock.
"""

import hashlib
import json
import math
import os
import struct
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Float32

from reverie.core.errors import DataError, ShapeError
from reverie.core.files import digest, write_bytes
from reverie.core.types import Episode, FrameSpec
from reverie.data.codecs import STRIP_FRAMES, encode_strip

TABLE_MAGIC = b"RVTABLE1"
TABLE_VERSION = 1
MAX_EPISODES_PER_SHARD = 64
"""A shard is closed after this many: rewriting its table stays cheap."""
MAX_SHARD_BYTES = 256 << 20

_HEADER = struct.Struct("<8sI16s")
STRIP_DTYPE = np.dtype([("offset", "<u8"), ("size", "<u4"), ("checksum", "<u8")])
"""One row per strip: where it lies in the frames file, and the BLAKE2b-64 of its bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeEntry:
    """What the index knows of one stored episode, without reading its arrays."""

    id: str
    """Unique in the store. The index is sorted by it."""
    task: str
    source: str
    seed: int
    num_steps: int
    action_width: int
    terminated: bool
    score: float
    """NaN where it is not known."""

    @property
    def num_frames(self) -> int:
        """Number of frames T+1."""
        return self.num_steps + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where the arrays of one episode lie."""

    table: Path
    """Its payload holds the strip table, the actions, the rewards and the details."""
    offset: int
    size: int
    checksum: str

    @property
    def frames_file(self) -> Path:
        """The file of strips beside the table."""
        return self.table.with_suffix(".frames")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lanes:
    """All of an episode but its frames."""

    strips: np.ndarray
    """Structured array of ``STRIP_DTYPE``."""
    actions: Float32[np.ndarray, "t a"]
    rewards: Float32[np.ndarray, " t"]
    behaviours: tuple[str, ...]
    parameters: dict[str, Any]


def strip_checksum(content: bytes | memoryview) -> int:
    """Return the BLAKE2b-64 of a strip."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def damaged(path: Path, problem: str) -> DataError:
    """Make the error for a bad file: what is wrong, and how to go on without it."""
    store = path.parent.parent
    return DataError(
        f"{path} {problem}. Copy it again from its source, or run 'reverie data check {store} "
        f"--repair' to move damaged shards aside, and collect the missing episodes again."
    )


class ShardWriter:
    """Appends episodes to shards of its own; any number of processes may do so at once."""

    def __init__(self, folder: Path, *, codec: str, frame_spec: FrameSpec) -> None:
        """Open no file yet: the first episode does."""
        self._folder = folder
        self._codec = codec
        self._frame_spec = frame_spec
        self._stem: Path | None = None
        self._headers: list[dict[str, Any]] = []
        self._payloads: list[bytes] = []
        self._num_bytes = 0

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: every episode is on disk once ``append`` has returned."""

    def append(self, episode: Episode, *, id: str | None = None) -> str:
        """Store an episode; when this returns, it survives a crash.

        Args:
            episode: Frames of the store's size.
            id: Its name in the store. Two episodes with one id are the same order: only one is
                ever listed. By default a checksum of the content.

        Returns:
            The id.
        """
        if episode.frame_spec != self._frame_spec:
            raise ShapeError(
                f"This store holds frames of {self._frame_spec.shape}, got an episode of "
                f"'{episode.task}' with {episode.frame_spec.shape}. Make its environment with "
                f"the store's frame_spec, or make another store."
            )
        strips = [
            encode_strip(episode.frames[start : start + STRIP_FRAMES], codec=self._codec)
            for start in range(0, len(episode.frames), STRIP_FRAMES)
        ]
        if (
            self._stem is None
            or len(self._headers) >= MAX_EPISODES_PER_SHARD
            or self._num_bytes >= MAX_SHARD_BYTES
        ):
            self._stem = self._folder / uuid.uuid4().hex
            self._headers, self._payloads, self._num_bytes = [], [], 0
        offset = _append_flushed(self._stem.with_suffix(".frames"), b"".join(strips))
        payload = _pack_payload(episode, strips, offset)
        name = id or digest(payload + str((episode.task, episode.source, episode.seed)).encode())
        self._headers.append(_entry_header(episode, name))
        self._payloads.append(payload)
        self._num_bytes = offset + sum(map(len, strips))
        table = _pack_table(self._headers, self._payloads, self._num_bytes)
        write_bytes(self._stem.with_suffix(".table"), table)
        return name


def read_table(path: Path) -> list[tuple[EpisodeEntry, Place]]:
    """Read what a shard's table lists; the arrays are not read yet.

    Raises:
        DataError: The table or its frames file is damaged, truncated, missing or too new.
    """
    with path.open("rb") as stream:
        start = stream.read(_HEADER.size)
        if len(start) < _HEADER.size or not start.startswith(TABLE_MAGIC):
            raise damaged(path, "is not a shard table, or its beginning is damaged")
        _, length, checksum = _HEADER.unpack(start)
        content = stream.read(min(length, path.stat().st_size))
    if len(content) != length or bytes.fromhex(digest(content)) != checksum:
        raise damaged(path, "has a damaged or truncated header")
    header = json.loads(content)
    if header["version"] != TABLE_VERSION:
        raise DataError(
            f"{path} has version {header['version']}, this Reverie reads {TABLE_VERSION}. "
            f"Update Reverie to read it."
        )
    _check_size(path, _HEADER.size + length + sum(item["size"] for item in header["episodes"]))
    _check_size(path.with_suffix(".frames"), header["frames_bytes"])
    listed: list[tuple[EpisodeEntry, Place]] = []
    offset = _HEADER.size + length
    for item in header["episodes"]:
        place = Place(table=path, offset=offset, size=item["size"], checksum=item["checksum"])
        offset += place.size
        fields = item["entry"]
        score = math.nan if fields["score"] is None else fields["score"]
        listed.append((EpisodeEntry(**{**fields, "score": score}), place))
    return listed


def read_lanes(entry: EpisodeEntry, place: Place) -> Lanes:
    """Read the arrays of one episode, all but the frames."""
    with place.table.open("rb") as stream:
        stream.seek(place.offset)
        payload = stream.read(place.size)
    if len(payload) != place.size or digest(payload) != place.checksum:
        raise damaged(place.table, f"is damaged at episode '{entry.id}'")
    num_strips = math.ceil(entry.num_frames / STRIP_FRAMES)
    num_actions = entry.num_steps * entry.action_width
    strips = np.frombuffer(payload, dtype=STRIP_DTYPE, count=num_strips)
    offset = strips.nbytes
    actions = np.frombuffer(payload, dtype="<f4", count=num_actions, offset=offset)
    offset += actions.nbytes
    rewards = np.frombuffer(payload, dtype="<f4", count=entry.num_steps, offset=offset)
    details = json.loads(payload[offset + rewards.nbytes :])
    names = tuple(name for name, count in details["behaviours"] for _ in range(count))
    return Lanes(
        strips=strips,
        actions=actions.reshape(entry.num_steps, entry.action_width),
        rewards=rewards,
        behaviours=names,
        parameters=details["parameters"],
    )


def read_strips(place: Place, strips: np.ndarray) -> list[memoryview]:
    """Read neighbouring strips in one go and verify each one's checksum."""
    start = int(strips["offset"][0])
    size = int(strips["offset"][-1]) + int(strips["size"][-1]) - start
    try:
        with place.frames_file.open("rb", buffering=0) as stream:
            content = memoryview(os.pread(stream.fileno(), size, start))
    except FileNotFoundError as error:
        raise damaged(place.frames_file, "is missing") from error
    pieces: list[memoryview] = []
    for offset, length, checksum in strips.tolist():
        piece = content[offset - start : offset - start + length]
        if len(piece) != length or strip_checksum(piece) != checksum:
            raise damaged(place.frames_file, f"is damaged or truncated near byte {offset}")
        pieces.append(piece)
    return pieces


def _append_flushed(path: Path, content: bytes) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        offset = stream.tell()
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    return offset


def _pack_payload(episode: Episode, strips: list[bytes], offset: int) -> bytes:
    rows = np.zeros(len(strips), dtype=STRIP_DTYPE)
    sizes = np.array([len(strip) for strip in strips])
    rows["size"] = sizes
    rows["offset"] = offset + np.cumsum(sizes) - sizes
    rows["checksum"] = [strip_checksum(strip) for strip in strips]
    details = {
        "behaviours": _run_lengths(episode.behaviours),
        "parameters": dict(episode.parameters),
    }
    lanes = (episode.actions.astype("<f4"), episode.rewards.astype("<f4"))
    return b"".join([rows.tobytes(), *(lane.tobytes() for lane in lanes), _json(details)])


def _entry_header(episode: Episode, name: str) -> dict[str, Any]:
    entry = EpisodeEntry(
        id=name,
        task=episode.task,
        source=episode.source,
        seed=episode.seed,
        num_steps=episode.num_steps,
        action_width=episode.actions.shape[1],
        terminated=episode.terminated,
        score=episode.score,
    )
    return {**asdict(entry), "score": None if math.isnan(entry.score) else entry.score}


def _pack_table(headers: list[dict[str, Any]], payloads: list[bytes], frames_bytes: int) -> bytes:
    episodes = [
        {"entry": header, "size": len(payload), "checksum": digest(payload)}
        for header, payload in zip(headers, payloads, strict=True)
    ]
    content = _json({"version": TABLE_VERSION, "frames_bytes": frames_bytes, "episodes": episodes})
    start = _HEADER.pack(TABLE_MAGIC, len(content), bytes.fromhex(digest(content)))
    return b"".join([start, content, *payloads])


def _run_lengths(names: tuple[str, ...]) -> list[list[Any]]:
    runs: list[list[Any]] = []
    for name in names:
        if runs and runs[-1][0] == name:
            runs[-1][1] += 1
        else:
            runs.append([name, 1])
    return runs


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _check_size(path: Path, expected: int) -> None:
    if not path.exists():
        raise damaged(path, "is missing")
    if path.stat().st_size < expected:
        raise damaged(
            path, f"is truncated: {path.stat().st_size} bytes where {expected} are listed"
        )
