"""Reads everything in a store and says what is wrong; sets damage aside on request."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reverie.core.errors import DataError, ShapeError
from reverie.data.shards import read_table
from reverie.data.store import EpisodeStore, list_tables, read_store_spec

LEFTOVER_AGE_S = 3600.0
"""Unlisted files younger than this may belong to a writer at work; they are left alone."""
QUARANTINE = "quarantine"

Progress = Callable[[int, int], None]
"""Called with shards done and shards in all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreReport:
    """What a check found."""

    num_episodes: int
    num_frames: int
    num_bytes: int
    """Size of the frames and tables of good shards."""
    problems: tuple[str, ...]
    """One sentence per damaged file."""
    bad_tables: tuple[Path, ...]
    """Tables of the damaged shards."""
    leftovers: tuple[Path, ...]
    """Unlisted files that a killed writer left; harmless."""

    @property
    def is_good(self) -> bool:
        """True if everything that is listed can be read."""
        return not self.problems


def check_store(path: Path, *, progress: Progress | None = None) -> StoreReport:
    """Verify every checksum and decode every frame, shard by shard.

    Raises:
        DataError: The folder is not a store at all.
    """
    spec = read_store_spec(path)
    tables = list_tables(path)
    problems: list[str] = []
    bad: list[Path] = []
    num_frames, num_bytes = 0, 0
    seen: set[str] = set()
    for index, table in enumerate(tables):
        try:
            listed = read_table(table)
            store = EpisodeStore(path, spec, tables=[table])
            for entry, _ in listed:
                store.read_episode(entry.id)
        except (DataError, ShapeError) as error:
            problems.append(str(error))
            bad.append(table)
        else:
            fresh = [entry for entry, _ in listed if entry.id not in seen]
            seen.update(entry.id for entry in fresh)
            num_frames += sum(entry.num_frames for entry in fresh)
            num_bytes += table.stat().st_size + table.with_suffix(".frames").stat().st_size
        if progress is not None:
            progress(index + 1, len(tables))
    return StoreReport(
        num_episodes=len(seen),
        num_frames=num_frames,
        num_bytes=num_bytes,
        problems=tuple(problems),
        bad_tables=tuple(bad),
        leftovers=tuple(list_leftovers(path)),
    )


def list_leftovers(path: Path) -> list[Path]:
    """Return files of the store that no table lists."""
    folder = path / "shards"
    listed = {table.with_suffix(".frames") for table in list_tables(path)}
    frames = [item for item in folder.glob("*.frames") if item not in listed]
    return sorted([*frames, *folder.glob(".*.tmp.table"), *path.glob(".*.tmp.json")])


def repair_store(path: Path, report: StoreReport, *, min_age_s: float = LEFTOVER_AGE_S) -> None:
    """Move damaged shards to ``quarantine/`` and delete old leftovers.

    Nothing that is listed and whole is touched. Collect the same order again to fill the gaps.
    """
    for table in report.bad_tables:
        (path / QUARANTINE).mkdir(exist_ok=True)
        for file in (table, table.with_suffix(".frames")):
            if file.exists():
                file.replace(path / QUARANTINE / file.name)
    for leftover in report.leftovers:
        if time.time() - leftover.stat().st_mtime >= min_age_s:
            leftover.unlink()
