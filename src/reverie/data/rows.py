"""One array row per stored frame, cached on disk in parts: what latents and pixels share."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from reverie.core.config import from_dict, to_dict
from reverie.core.errors import ConfigError, DataError
from reverie.core.files import atomic_path, read_sealed, write_sealed
from reverie.core.types import Episode
from reverie.data.shards import EpisodeEntry
from reverie.data.store import EpisodeStore

ROWS_VERSION = 1
MANIFEST = "rows.json"
PART_FRAMES = 16_384
"""A part is written after about this many frames; a crash costs no more than the part begun."""
PART_BYTES = 128 << 20
"""Or after this many bytes: a part is held in memory before it is written."""

RowMaker = Callable[[Episode], np.ndarray]
"""Turns an episode into T+1 rows."""
Progress = Callable[[int, int], None]
"""Called with frames done and frames in all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsPart:
    """One file of rows, and the episodes in it in their order."""

    file: str
    episodes: tuple[tuple[str, int], ...]
    """(episode id, number of frames)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsManifest:
    """What ``rows.json`` says."""

    version: int
    store_id: str
    key: str
    parts: tuple[RowsPart, ...]


class FrameRows:
    """Rows of every frame of a store, memory-mapped."""

    def __init__(self, path: Path, manifest: RowsManifest) -> None:
        """Use ``build_rows`` or ``open_rows``."""
        self.path = path
        self.key = manifest.key
        self._rows: dict[str, np.ndarray] = {}
        for part in manifest.parts:
            total = sum(count for _, count in part.episodes)
            whole = _map_part(path / part.file, total)
            offset = 0
            for episode_id, count in part.episodes:
                self._rows[episode_id] = whole[offset : offset + count]
                offset += count

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self._rows)

    def __contains__(self, episode_id: object) -> bool:
        """Tell whether an episode has rows."""
        return episode_id in self._rows

    def __iter__(self) -> Iterator[str]:
        """Iterate over episode ids."""
        return iter(self._rows)

    def read(self, episode_id: str, start: int, length: int) -> np.ndarray:
        """Return rows ``start`` to ``start + length`` of an episode, as a read-only view."""
        if episode_id not in self._rows:
            raise DataError(
                f"{self.path} has no rows of episode '{episode_id}': the store has grown since "
                f"it was built. Build it again; only new episodes are added."
            )
        rows = self._rows[episode_id]
        if start < 0 or length < 1 or start + length > len(rows):
            raise ConfigError(
                f"Episode '{episode_id}' has frames 0 to {len(rows) - 1}, asked for {length} "
                f"from {start}. Choose a window inside."
            )
        return rows[start : start + length]


def open_rows(path: Path, *, store: EpisodeStore, key: str) -> FrameRows:
    """Open rows that were built; those of another store or key are refused."""
    manifest = _read_manifest(path)
    if manifest is None:
        raise DataError(f"{path} has not been built yet: it has no {MANIFEST}. Build it first.")
    _check_key(path, manifest, store, key)
    return FrameRows(path, manifest)


def build_rows(
    path: Path, *, store: EpisodeStore, key: str, make: RowMaker, progress: Progress | None = None
) -> FrameRows:
    """Add the rows of every episode of the store that are missing; finished parts stay.

    Args:
        path: Folder of the cache.
        store: Whose frames.
        key: Names what ``make`` does, such as a tokenizer's hash.
        make: One row per frame of an episode.
        progress: Told after every episode.
    """
    manifest = _read_manifest(path)
    if manifest is None:
        manifest = RowsManifest(version=ROWS_VERSION, store_id=store.spec.id, key=key, parts=())
    _check_key(path, manifest, store, key)
    present = {episode_id for part in manifest.parts for episode_id, _ in part.episodes}
    missing = [entry for entry in store.index if entry.id not in present]
    todo = sum(entry.num_frames for entry in missing)
    done = 0
    group: list[EpisodeEntry] = []
    pieces: list[np.ndarray] = []
    for entry in missing:
        pieces.append(_checked(make(store.read_episode(entry.id)), entry))
        group.append(entry)
        done += entry.num_frames
        if progress is not None:
            progress(done, todo)
        if done == todo or _is_part(pieces):
            manifest = _add_part(path, manifest, group, np.concatenate(pieces))
            group, pieces = [], []
    if not manifest.parts:
        write_sealed(path / MANIFEST, to_dict(manifest))
    return FrameRows(path, manifest)


def _is_part(pieces: list[np.ndarray]) -> bool:
    num_frames = sum(len(piece) for piece in pieces)
    return num_frames >= PART_FRAMES or sum(piece.nbytes for piece in pieces) >= PART_BYTES


def _checked(rows: np.ndarray, entry: EpisodeEntry) -> np.ndarray:
    if len(rows) != entry.num_frames:
        raise DataError(
            f"Episode '{entry.id}' has {entry.num_frames} frames, but {len(rows)} rows were made."
        )
    return rows


def _add_part(
    path: Path, manifest: RowsManifest, group: list[EpisodeEntry], rows: np.ndarray
) -> RowsManifest:
    name = f"{uuid.uuid4().hex}.npy"
    with atomic_path(path / name) as temporary:
        np.save(temporary, rows)
    part = RowsPart(file=name, episodes=tuple((item.id, item.num_frames) for item in group))
    manifest = replace(manifest, parts=(*manifest.parts, part))
    write_sealed(path / MANIFEST, to_dict(manifest))
    return manifest


def _map_part(path: Path, num_rows: int) -> np.ndarray:
    try:
        rows = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is damaged or missing: {error}. Delete the folder.") from error
    if len(rows) != num_rows:
        raise DataError(f"{path} has {len(rows)} rows, {num_rows} are listed. Delete the folder.")
    return rows


def _read_manifest(path: Path) -> RowsManifest | None:
    file = path / MANIFEST
    if not file.exists():
        return None
    try:
        return from_dict(RowsManifest, read_sealed(file))
    except ValueError as error:
        raise DataError(f"{file} is damaged: {error} Delete {path}; it can be rebuilt.") from error


def _check_key(path: Path, manifest: RowsManifest, store: EpisodeStore, key: str) -> None:
    if (manifest.version, manifest.store_id, manifest.key) != (ROWS_VERSION, store.spec.id, key):
        raise DataError(
            f"{path} is stale: it was made for key '{manifest.key}' and store "
            f"{manifest.store_id}, asked for key '{key}' and store {store.spec.id}. "
            f"Delete it, or build into another folder."
        )
