"""One shard on disk: a file of frame strips and lanes, and a small table, which is renamed last.

A writer appends an episode to its own ``.frames`` file, flushes it, then writes the whole table
anew under a temporary name and renames it. So a table never lists what is not on the disk, what
a reader knows stays where it is, and writers never need a lock.
"""

import hashlib
import json
import math
import os
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

TABLE_WORD = "reverie-shard"
TABLE_VERSION = 1
MAX_EPISODES_PER_SHARD = 64
"""A shard is closed after this many: rewriting its table stays cheap."""
MAX_SHARD_BYTES = 256 << 20

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
    """Where the lanes of one episode lie: strip table, actions, rewards and details."""

    file: Path
    """The frames file of the shard; only ever appended to."""
    offset: int
    size: int
    checksum: str


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
        self._rows: list[dict[str, Any]] = []
        self._num_bytes = 0

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the shard: every episode is on disk once ``append`` has returned."""
        self._stem = None

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
        lanes = (episode.actions.astype("<f4").tobytes(), episode.rewards.astype("<f4").tobytes())
        identity = _json([episode.task, episode.source, int(episode.seed)])
        name = id or digest(b"".join([*strips, *lanes, identity]))
        stem = self._next_stem()
        # Until the table is written, this shard is not to be used again.
        self._stem = None
        content, place = _pack_episode(episode, strips, self._num_bytes)
        _append_flushed(stem.with_suffix(".frames"), content, expected_size=self._num_bytes)
        self._num_bytes += len(content)
        self._rows.append({"entry": _to_plain(_make_entry(episode, name)), "place": place})
        _write_table(stem.with_suffix(".table"), self._rows, self._num_bytes)
        self._stem = stem
        return name

    def _next_stem(self) -> Path:
        is_full = len(self._rows) >= MAX_EPISODES_PER_SHARD or self._num_bytes >= MAX_SHARD_BYTES
        if self._stem is not None and not is_full:
            return self._stem
        self._rows, self._num_bytes = [], 0
        return self._folder / uuid.uuid4().hex


def read_table(path: Path) -> list[tuple[EpisodeEntry, Place]]:
    """Read what a shard's table lists; the arrays are not read yet.

    Raises:
        DataError: The table or its frames file is damaged, truncated, missing or too new.
    """
    title, _, content = path.read_bytes().partition(b"\n")
    words = title.split(b" ")
    if len(words) != 3 or words[0] != TABLE_WORD.encode():
        raise damaged(path, "is not a shard table, or its first line is damaged")
    if words[2] != digest(words[1] + content).encode():
        raise damaged(path, "is damaged or truncated: its checksum does not fit")
    if words[1] != str(TABLE_VERSION).encode():
        raise DataError(
            f"{path} has version {words[1].decode()}, this Reverie reads {TABLE_VERSION}. "
            f"Update Reverie to read it."
        )
    table = json.loads(content)
    frames_file = path.with_suffix(".frames")
    _check_size(frames_file, table["num_bytes"])
    return [
        (_from_plain(row["entry"]), Place(file=frames_file, **row["place"]))
        for row in table["episodes"]
    ]


def read_lanes(entry: EpisodeEntry, place: Place) -> Lanes:
    """Read the arrays of one episode, all but the frames."""
    payload = _read_bytes(place.file, place.offset, place.size)
    if digest(payload) != place.checksum:
        raise damaged(place.file, f"is damaged at episode '{entry.id}'")
    num_strips = math.ceil(entry.num_frames / STRIP_FRAMES)
    num_actions = entry.num_steps * entry.action_width
    strips = np.frombuffer(payload, dtype=STRIP_DTYPE, count=num_strips)
    offset = strips.nbytes
    actions = np.frombuffer(payload, dtype="<f4", count=num_actions, offset=offset)
    offset += actions.nbytes
    rewards = np.frombuffer(payload, dtype="<f4", count=entry.num_steps, offset=offset)
    details = json.loads(bytes(payload[offset + rewards.nbytes :]))
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
    content = memoryview(_read_bytes(place.file, start, size))
    pieces: list[memoryview] = []
    for offset, length, checksum in strips.tolist():
        piece = content[offset - start : offset - start + length]
        if len(piece) != length or strip_checksum(piece) != checksum:
            raise damaged(place.file, f"is damaged or truncated near byte {offset}")
        pieces.append(piece)
    return pieces


def _append_flushed(path: Path, content: bytes, *, expected_size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        assert stream.tell() == expected_size, f"{path} has {stream.tell()} bytes: two writers?"
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _read_bytes(path: Path, offset: int, size: int) -> bytes:
    try:
        with path.open("rb", buffering=0) as stream:
            return os.pread(stream.fileno(), size, offset)
    except FileNotFoundError as error:
        raise damaged(path, "is missing") from error


def _pack_episode(
    episode: Episode, strips: list[bytes], offset: int
) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes of an episode that begins at ``offset``, and the place of its lanes."""
    rows = np.zeros(len(strips), dtype=STRIP_DTYPE)
    sizes = np.array([len(strip) for strip in strips])
    rows["size"] = sizes
    rows["offset"] = offset + np.cumsum(sizes) - sizes
    rows["checksum"] = [strip_checksum(strip) for strip in strips]
    details = {
        "behaviours": _run_lengths(episode.behaviours),
        "parameters": dict(episode.parameters),
    }
    arrays = (rows, episode.actions.astype("<f4"), episode.rewards.astype("<f4"))
    lanes = b"".join([*(array.tobytes() for array in arrays), _json(details)])
    place = {
        "offset": offset + int(sizes.sum()),
        "size": len(lanes),
        "checksum": digest(lanes),
    }
    return b"".join([*strips, lanes]), place


def _make_entry(episode: Episode, name: str) -> EpisodeEntry:
    return EpisodeEntry(
        id=name,
        task=episode.task,
        source=episode.source,
        seed=int(episode.seed),
        num_steps=episode.num_steps,
        action_width=episode.actions.shape[1],
        terminated=bool(episode.terminated),
        score=float(episode.score),
    )


def _to_plain(entry: EpisodeEntry) -> dict[str, Any]:
    return {**asdict(entry), "score": None if math.isnan(entry.score) else entry.score}


def _from_plain(fields: dict[str, Any]) -> EpisodeEntry:
    score = math.nan if fields["score"] is None else fields["score"]
    return EpisodeEntry(**{**fields, "score": score})


def _write_table(path: Path, rows: list[dict[str, Any]], num_bytes: int) -> None:
    content = _json({"num_bytes": num_bytes, "episodes": rows})
    version = str(TABLE_VERSION)
    title = f"{TABLE_WORD} {version} {digest(version.encode() + content)}\n"
    write_bytes(path, title.encode() + content)


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
