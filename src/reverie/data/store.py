"""Episodes on disk: many processes append without a lock, readers decode only what they need."""

import os
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from reverie.core.config import added, from_dict, to_dict
from reverie.core.errors import ConfigError, DataError
from reverie.core.files import read_sealed, write_sealed
from reverie.core.types import DEFAULT_QUALITY, Episode, FrameSpec, RenderQuality
from reverie.data.codecs import STRIP_FRAMES, check_codec, decode_strip
from reverie.data.shards import (
    EpisodeEntry,
    Lanes,
    Place,
    ShardWriter,
    damaged,
    read_lanes,
    read_strips,
    read_table,
)

STORE_FORMAT = "reverie-episodes"
STORE_VERSION = 1
MANIFEST = "store.json"

_MAX_CACHED_LANES = 8192
_MAX_THREADS = 4
_MIN_THREADED_PIXELS = 100_000
"""Strips smaller than this decode faster on the calling thread."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreSpec:
    """What ``store.json`` says."""

    format: str
    version: int
    id: str
    """Drawn when the store was made; caches name it."""
    codec: str
    strip_frames: int
    frame: FrameSpec
    quality: RenderQuality = added(DEFAULT_QUALITY)
    """How tasks whose drawing is ours were drawn."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Window:
    """A slice of an episode, as stored: looking forward.

    The lanes are those of the whole episode, so that ``to_batch`` finds the action that led to
    the first frame.
    """

    entry: EpisodeEntry
    start: int
    """Index of the first frame in the episode."""
    length: int
    actions: Float32[np.ndarray, "steps a"]
    rewards: Float32[np.ndarray, " steps"]
    frames: UInt8[np.ndarray, "t h w 3"] | None
    """Frames ``start`` to ``start + length``; None where latents come from a cache."""


class EpisodeStore:
    """A folder of episodes. What it lists is whole; what is not listed is ignored."""

    def __init__(self, path: Path, spec: StoreSpec, *, tables: Sequence[Path] = ()) -> None:
        """List only the given tables; use ``create``, ``open`` or ``open_or_create`` for all."""
        self.path = path
        self.spec = spec
        self._seen: dict[Path, tuple[int, int]] = {}
        self._tables: dict[Path, list[tuple[EpisodeEntry, Place]]] = {}
        self._places: dict[str, tuple[EpisodeEntry, Place]] = {}
        self._index: tuple[EpisodeEntry, ...] = ()
        self._lanes: dict[str, Lanes] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._list(tables)

    def __reduce__(self) -> tuple[Callable[[Path], "EpisodeStore"], tuple[Path]]:
        """Open anew in the process that unpickles."""
        return (EpisodeStore.open, (self.path,))

    @staticmethod
    def create(
        path: Path | str,
        frame_spec: FrameSpec,
        codec: str = "webp",
        quality: RenderQuality = DEFAULT_QUALITY,
    ) -> "EpisodeStore":
        """Make an empty store; a folder that already holds one is refused."""
        path = Path(path)
        check_codec(codec, frame_spec)
        if (path / MANIFEST).exists():
            raise ConfigError(f"{path} already holds a store. Open it, or choose another folder.")
        spec = StoreSpec(
            format=STORE_FORMAT,
            version=STORE_VERSION,
            id=uuid.uuid4().hex,
            codec=codec,
            strip_frames=STRIP_FRAMES,
            frame=frame_spec,
            quality=quality,
        )
        (path / "shards").mkdir(parents=True, exist_ok=True)
        write_sealed(path / MANIFEST, to_dict(spec))
        return EpisodeStore(path, spec)

    @staticmethod
    def open(path: Path | str) -> "EpisodeStore":
        """Open a store for reading and appending.

        Raises:
            DataError: There is no store, or one of its shards is damaged.
        """
        path = Path(path)
        return EpisodeStore(path, read_store_spec(path), tables=list_tables(path))

    @staticmethod
    def open_or_create(
        path: Path | str,
        frame_spec: FrameSpec,
        codec: str = "webp",
        quality: RenderQuality = DEFAULT_QUALITY,
    ) -> "EpisodeStore":
        """Open a store, or make it; one with other frames, codec or quality is refused."""
        if not (Path(path) / MANIFEST).exists():
            return EpisodeStore.create(path, frame_spec, codec, quality)
        store = EpisodeStore.open(path)
        held, asked = _describe(store.frame_spec, store.spec.codec), _describe(frame_spec, codec)
        if store.spec.quality != quality:
            held, asked = f"{held}, drawn {store.spec.quality}", f"{asked}, drawn {quality}"
        if held != asked:
            raise ConfigError(
                f"{path} holds {held}, asked for {asked}. Use the same, or choose another folder."
            )
        return store

    @property
    def frame_spec(self) -> FrameSpec:
        """Size of all frames in the store."""
        return self.spec.frame

    @property
    def index(self) -> tuple[EpisodeEntry, ...]:
        """All listed episodes, sorted by id: independent of who wrote them and when."""
        return self._index

    @property
    def num_frames(self) -> int:
        """Number of frames of all listed episodes."""
        return sum(entry.num_frames for entry in self._index)

    def __len__(self) -> int:
        """Return the number of listed episodes."""
        return len(self._index)

    def __contains__(self, episode_id: object) -> bool:
        """Tell whether an episode is listed."""
        return episode_id in self._places

    def entry(self, episode_id: str) -> EpisodeEntry:
        """Return what the index knows of one episode."""
        return self._place(episode_id)[0]

    def stored_bytes(self, episode_id: str) -> int:
        """Return the size of an episode on disk, without its line in the table."""
        entry, place = self._place(episode_id)
        return int(self._read_lanes(entry, place).strips["size"].sum()) + place.size

    def refresh(self) -> int:
        """Notice what writers have added; return how many episodes are new."""
        before = len(self._places)
        self._list(list_tables(self.path))
        return len(self._places) - before

    def _list(self, tables: Sequence[Path]) -> None:
        for path in tables:
            status = path.stat()
            stamp = (status.st_ino, status.st_mtime_ns)
            if self._seen.get(path) != stamp:
                self._tables[path] = read_table(path)
                self._seen[path] = stamp
        self._places = {
            entry.id: (entry, place)
            for path in sorted(self._tables, reverse=True)
            for entry, place in self._tables[path]
        }
        self._index = tuple(self._places[name][0] for name in sorted(self._places))

    def writer(self) -> ShardWriter:
        """Return a writer with shards of its own; every process makes one."""
        return ShardWriter(self.path / "shards", codec=self.spec.codec, frame_spec=self.frame_spec)

    def read_episode(self, episode_id: str) -> Episode:
        """Read and decode a whole episode."""
        entry, place = self._place(episode_id)
        lanes = self._read_lanes(entry, place)
        return Episode(
            frames=self._decode(place, lanes, 0, entry.num_frames),
            actions=lanes.actions.astype(np.float32),
            rewards=lanes.rewards.astype(np.float32),
            terminated=entry.terminated,
            task=entry.task,
            source=entry.source,
            seed=entry.seed,
            score=entry.score,
            behaviours=lanes.behaviours,
            parameters=lanes.parameters,
        )

    def read_window(
        self, episode_id: str, start: int, length: int, *, with_frames: bool = True
    ) -> Window:
        """Read frames ``start`` to ``start + length``, decoding only the strips they lie in."""
        entry, place = self._place(episode_id)
        if start < 0 or length < 1 or start + length > entry.num_frames:
            raise ConfigError(
                f"Episode '{episode_id}' has frames 0 to {entry.num_frames - 1}, asked for "
                f"{length} from {start}. Choose a window inside."
            )
        lanes = self._read_lanes(entry, place)
        return Window(
            entry=entry,
            start=start,
            length=length,
            actions=lanes.actions,
            rewards=lanes.rewards,
            frames=self._decode(place, lanes, start, length) if with_frames else None,
        )

    def _place(self, episode_id: str) -> tuple[EpisodeEntry, Place]:
        if episode_id not in self._places:
            raise DataError(
                f"{self.path} has no episode '{episode_id}'. 'reverie data show {self.path}' "
                f"lists all {len(self._places)}; refresh() notices new ones."
            )
        return self._places[episode_id]

    def _read_lanes(self, entry: EpisodeEntry, place: Place) -> Lanes:
        lanes = self._lanes.get(entry.id)
        if lanes is None:
            lanes = read_lanes(entry, place)
            if len(self._lanes) >= _MAX_CACHED_LANES:
                self._lanes = {}
            self._lanes[entry.id] = lanes
        return lanes

    def _decode(
        self, place: Place, lanes: Lanes, start: int, length: int
    ) -> UInt8[np.ndarray, "t h w 3"]:
        first, last = start // STRIP_FRAMES, (start + length - 1) // STRIP_FRAMES
        num_frames = len(lanes.rewards) + 1
        contents = read_strips(place, lanes.strips[first : last + 1])
        out = np.empty((length, *self.frame_spec.shape), dtype=np.uint8)

        def decode_one(index: int) -> None:
            begin = (first + index) * STRIP_FRAMES
            size = min(STRIP_FRAMES, num_frames - begin)
            try:
                frames = decode_strip(
                    contents[index],
                    codec=self.spec.codec,
                    num_frames=size,
                    frame_spec=self.frame_spec,
                )
            except DataError as error:
                raise damaged(place.file, f"cannot be decoded: {error}") from error
            low, high = max(begin, start), min(begin + size, start + length)
            out[low - start : high - start] = frames[low - begin : high - begin]

        self._for_each(decode_one, range(len(contents)))
        return out

    def _for_each(self, call: Callable[[int], None], indices: Sequence[int]) -> None:
        pixels = STRIP_FRAMES * self.frame_spec.height_px * self.frame_spec.width_px
        if len(indices) < 2 or pixels < _MIN_THREADED_PIXELS:
            for index in indices:
                call(index)
            return
        if self._pool is None:
            threads = min(_MAX_THREADS, os.cpu_count() or 1)
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="strips")
        list(self._pool.map(call, indices))


def read_store_spec(path: Path) -> StoreSpec:
    """Read ``store.json``, or say why the folder is not a store that this Reverie reads."""
    manifest = path / MANIFEST
    if not manifest.exists():
        raise DataError(
            f"{path} is not an episode store: it has no {MANIFEST}. "
            f"Make one with 'reverie collect', or check the path."
        )
    try:
        values: Any = read_sealed(manifest)
    except ValueError as error:
        raise DataError(f"{manifest} is damaged: {error}. Restore it from a copy.") from error
    version = values.get("version") if isinstance(values, dict) else None
    if version != STORE_VERSION:
        raise DataError(
            f"{manifest} has version {version!r}, this Reverie reads {STORE_VERSION}. "
            f"Update Reverie, or restore the file."
        )
    try:
        return from_dict(StoreSpec, values)
    except ConfigError as error:
        raise DataError(f"{manifest} is damaged: {error}") from error


def list_tables(path: Path) -> list[Path]:
    """Return the tables of a store's finished shards, sorted by name."""
    return sorted(
        item for item in (path / "shards").glob("*.table") if not item.name.startswith(".")
    )


def _describe(frame_spec: FrameSpec, codec: str) -> str:
    return f"{frame_spec.height_px}x{frame_spec.width_px} frames as {codec}"
