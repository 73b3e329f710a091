"""The MMBench2 release into an episode store: one pass, task by task, all of a task or nothing.

A task is first checked as a whole (every checksum, every length), then converted into a store of
its own beside the target, read back and compared, and only then moved into the target. A killed
import goes on where it stopped; a damaged file stops it with its name.
"""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from reverie.core.errors import ConfigError, DataError
from reverie.core.files import digest, file_digest, write_json
from reverie.core.types import Episode, FrameSpec, RenderQuality
from reverie.data.download import verify_listed
from reverie.data.importers.mmbench2_frames import (
    FrameFile,
    list_shards,
    list_strips,
    read_frames,
)
from reverie.data.importers.mmbench2_rows import RELEASE_ACTION_LANES, ReleaseRows, read_rows
from reverie.data.store import MANIFEST, EpisodeStore, list_tables

PARTITION_SOURCES = {
    "expert": "expert",
    "mixed-small": "mixed",
    "mixed-large": "mixed",
    "zeros": "noop",
    "val": "expert",
    "test": "expert",
    "active_zero": "noop",
    "active_random": "random",
    "active_expert": "expert",
    "active_human": "human",
    "active_curiosity_u_r_norm": "curiosity",
    "active_test": "expert",
    "active_test_human": "human",
}
"""What chose the actions in each partition; others keep the name of their folder."""

QUALITY: RenderQuality = "release"
STAGING = ".importing"
_STAMP = "source.json"
MEMORY_PER_WORKER_MB = 1500
"""A decoded strip of 4,008 frames and an episode of 1,001."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportItem:
    """One task of one partition."""

    folder: Path
    """Holds ``<task>.pt`` and, unless there are shards, the PNG strips."""
    partition: str
    task: str
    action_width: int
    shards: Path | None = None
    """Preprocessed frames instead of the strips: a folder with ``<task>/<task>_index.json``."""

    @property
    def name(self) -> str:
        """Unique among the items of an import."""
        return f"{self.partition}/{self.task}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportResult:
    """What became of one item."""

    name: str
    num_episodes: int
    num_frames: int
    num_clamped: int
    """Action values beyond [-1, 1] that were clamped."""
    is_new: bool
    """False if the target held all of it before."""


def list_items(
    source: Path,
    *,
    widths: Callable[[str], int],
    tasks: Sequence[str] = (),
    partitions: Sequence[str] = (),
    shards: Path | None = None,
) -> list[ImportItem]:
    """Find the tasks below a folder: of one partition, or of several in folders of their own.

    Args:
        source: A partition's folder, or the folder that holds the partitions.
        widths: Tells the width of a task's actions.
        tasks: Keep only these.
        partitions: Keep only these.
        shards: Where preprocessed frames lie, if the strips are not used.

    Raises:
        DataError: There is nothing, or something asked for is not there.
    """
    if not source.is_dir():
        raise DataError(f"'{source}' is no folder. Download it with 'reverie data download'.")
    folders = {path.parent for path in (*source.glob("*.pt"), *source.glob("*/*.pt"))}
    found = [
        ImportItem(
            folder=folder,
            partition=folder.resolve().name,
            task=path.stem,
            action_width=0,
            shards=shards,
        )
        for folder in sorted(folders)
        for path in sorted(folder.glob("*.pt"))
    ]
    for kind, asked, there in (
        ("task", tasks, {item.task for item in found}),
        ("partition", partitions, {item.partition for item in found}),
    ):
        absent = sorted(set(asked) - there)
        if absent or not found:
            raise DataError(
                f"'{source}' has no {kind} {', '.join(absent) or 'at all'}; it has "
                f"{', '.join(sorted(there)[:8]) or 'no .pt files'}."
            )
    kept = [
        item
        for item in found
        if (not tasks or item.task in tasks) and (not partitions or item.partition in partitions)
    ]
    return [
        ImportItem(
            folder=item.folder,
            partition=item.partition,
            task=item.task,
            action_width=widths(item.task),
            shards=shards,
        )
        for item in kept
    ]


def import_items(
    items: Sequence[ImportItem],
    out: Path,
    *,
    side_px: int | None = None,
    num_workers: int = 1,
    on_done: Callable[[ImportResult], None] = lambda _: None,
) -> list[ImportResult]:
    """Convert tasks into the store at ``out``; what it holds already is not read again.

    Args:
        items: See ``list_items``.
        out: The store; made if it is not there.
        side_px: Resample frames to this side by area; None keeps their size.
        num_workers: Processes, one task each at a time; each may need
            ``MEMORY_PER_WORKER_MB`` of memory.
        on_done: Told of every finished task.

    Raises:
        DataError: A file is missing, damaged, or does not fit the others. Tasks that were
            finished before stay; nothing of the damaged one is in the store.
    """
    results: list[ImportResult] = []

    def note(result: ImportResult) -> None:
        results.append(result)
        on_done(result)

    if num_workers <= 1 or len(items) < 2:
        for item in items:
            note(import_item(item, out, side_px=side_px))
        return results
    # Made once, here: two processes must not both make the target.
    spec = _frame_spec(_list_frames(items[0])[0], side_px)
    EpisodeStore.open_or_create(out, spec, quality=QUALITY)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_workers, len(items)), mp_context=context) as pool:
        waiting = [pool.submit(import_item, item, out, side_px=side_px) for item in items]
        try:
            for future in waiting:
                note(future.result())
        except DataError:
            pool.shutdown(cancel_futures=True)
            raise
    return results


def import_item(item: ImportItem, out: Path, *, side_px: int | None = None) -> ImportResult:
    """Convert one task of one partition; see ``import_items``."""
    rows = _read_checked_rows(item)
    names = [f"{item.name}/{index:05d}" for index in range(len(rows.cuts()))]
    is_new = not _is_complete(out, names)
    if is_new:
        files = _check_frames(item, rows)
        verify_listed([rows.path, *(file.path for file in files)])
        spec = _frame_spec(files[0], side_px)
        stamp = _stamp(item, rows, files, spec)
        # Beside the target, so that moving is a rename on one disk.
        staging = out / STAGING / digest(item.name.encode())
        _prepare(staging, stamp)
        try:
            store = EpisodeStore.open_or_create(staging / "store", spec, quality=QUALITY)
            _convert(item, rows, files, names, store)
            _move(staging / "store", out, spec)
        except DataError:
            # Damage that only decoding shows: nothing of this task may stay. A mere interruption
            # keeps what is done.
            _discard(staging, out)
            raise
        _discard(staging, out)
    lanes = rows.actions[:, : item.action_width]
    return ImportResult(
        name=item.name,
        num_episodes=len(names),
        num_frames=len(rows),
        num_clamped=int((np.abs(np.nan_to_num(lanes)) > 1).sum()),
        is_new=is_new,
    )


def _read_checked_rows(item: ImportItem) -> ReleaseRows:
    rows = read_rows(item.folder / f"{item.task}.pt")
    lanes = rows.actions.shape[1]
    if not 0 < item.action_width <= lanes or lanes not in (RELEASE_ACTION_LANES, item.action_width):
        raise DataError(
            f"'{rows.path}' has actions of {lanes} lanes, the task has {item.action_width}; "
            f"expected {RELEASE_ACTION_LANES} lanes, or just those of the task."
        )
    rows.check(item.action_width)
    return rows


def _list_frames(item: ImportItem) -> list[FrameFile]:
    if item.shards is not None:
        return list_shards(item.shards, item.task)
    return list_strips(item.folder, item.task)


def _check_frames(item: ImportItem, rows: ReleaseRows) -> list[FrameFile]:
    """Check all files of frames against the table, before anything is written."""
    files = _list_frames(item)
    counts = {file.path.name: file.num_frames for file in files}
    if sum(counts.values()) != len(rows):
        raise DataError(
            f"'{rows.path}' has {len(rows)} rows, but its frames are {sum(counts.values())}: "
            f"{counts}. One of the files is not whole; download them again."
        )
    sizes = {(file.height_px, file.width_px) for file in files}
    if len(sizes) > 1:
        raise DataError(f"The frames of '{item.name}' have several sizes: {sorted(sizes)}.")
    return files


def _convert(
    item: ImportItem,
    rows: ReleaseRows,
    files: Sequence[FrameFile],
    names: Sequence[str],
    store: EpisodeStore,
) -> None:
    with store.writer() as writer:
        pieces = _episode_frames(files, rows.cuts(), store.frame_spec)
        for index, ((start, stop), frames) in enumerate(zip(rows.cuts(), pieces, strict=True)):
            episode = _episode(item, rows, start, stop, frames)
            if names[index] not in store:
                writer.append(episode, id=names[index])
                store.refresh()
            _compare(store.read_episode(names[index]), episode, names[index])


def _episode(
    item: ImportItem, rows: ReleaseRows, start: int, stop: int, frames: UInt8[np.ndarray, "n h w 3"]
) -> Episode:
    """Shift from the release's rows, which look back, to an episode, which looks forward."""
    lanes: Float32[np.ndarray, "t a"] = rows.actions[start + 1 : stop, : item.action_width]
    clamped = np.clip(lanes, -1.0, 1.0)
    return Episode(
        frames=frames,
        actions=np.ascontiguousarray(clamped),
        rewards=rows.rewards[start + 1 : stop].copy(),
        terminated=bool(rows.terminated[stop - 1]),
        task=item.task,
        source=PARTITION_SOURCES.get(item.partition, item.partition),
        seed=int(rows.episodes[start]),
        parameters={
            "release": "mmbench2",
            "partition": item.partition,
            "num_clamped": int((clamped != lanes).sum()),
        },
    )


def _compare(stored: Episode, given: Episode, name: str) -> None:
    is_same = (
        np.array_equal(stored.frames, given.frames)
        and np.array_equal(stored.actions, given.actions)
        and np.array_equal(stored.rewards, given.rewards)
    )
    if not is_same:
        raise DataError(
            f"Episode '{name}' reads back differently from its source: the files changed during "
            f"the import, or the disk is failing. Start the import again."
        )


def _episode_frames(
    files: Sequence[FrameFile], cuts: Sequence[tuple[int, int]], spec: FrameSpec
) -> Iterator[UInt8[np.ndarray, "n h w 3"]]:
    """Cut the stream of frames into episodes; holds one decoded piece and one episode at most."""
    stream = (piece for file in files for piece in read_frames(file))
    piece, used = next(stream), 0
    for start, stop in cuts:
        frames = np.empty((stop - start, *spec.shape), dtype=np.uint8)
        filled = 0
        while filled < len(frames):
            if used == len(piece):
                piece, used = next(stream), 0
            count = min(len(frames) - filled, len(piece) - used)
            _resample(piece[used : used + count], frames[filled : filled + count])
            filled, used = filled + count, used + count
        yield frames


def _resample(source: np.ndarray, target: np.ndarray) -> None:
    if source.shape == target.shape:
        target[:] = source
        return
    size = (target.shape[2], target.shape[1])
    for index, frame in enumerate(source):
        target[index] = cv2.resize(np.ascontiguousarray(frame), size, interpolation=cv2.INTER_AREA)


def _frame_spec(file: FrameFile, side_px: int | None) -> FrameSpec:
    if side_px is None:
        return FrameSpec(height_px=file.height_px, width_px=file.width_px)
    if side_px > min(file.height_px, file.width_px):
        raise ConfigError(
            f"Frames of {file.height_px}x{file.width_px} cannot be resampled to {side_px} pixels "
            f"by area. Choose a smaller side."
        )
    return FrameSpec(height_px=side_px, width_px=side_px)


def _stamp(
    item: ImportItem, rows: ReleaseRows, files: Sequence[FrameFile], spec: FrameSpec
) -> dict[str, Any]:
    paths = [rows.path, *(file.path for file in files)]
    return {
        "item": item.name,
        "action_width": item.action_width,
        "frame": [spec.height_px, spec.width_px],
        "files": {path.name: file_digest(path) for path in paths},
    }


def _prepare(staging: Path, stamp: dict[str, Any]) -> None:
    """Keep what an earlier, killed import of the very same files has done; else begin anew."""
    path = staging / _STAMP
    try:
        is_same = json.loads(path.read_text()) == stamp
    except (OSError, ValueError):
        is_same = False
    if not is_same:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        write_json(path, stamp)


def _is_complete(out: Path, names: Sequence[str]) -> bool:
    if not (out / MANIFEST).exists():
        return False
    store = EpisodeStore.open(out)
    return all(name in store for name in names)


def _move(store: Path, out: Path, spec: FrameSpec) -> None:
    """Rename finished shards into the target, each with its table last."""
    EpisodeStore.open_or_create(out, spec, quality=QUALITY)
    for table in list_tables(store):
        frames = table.with_suffix(".frames")
        frames.replace(out / "shards" / frames.name)
        table.replace(out / "shards" / table.name)


def _discard(staging: Path, out: Path) -> None:
    shutil.rmtree(staging, ignore_errors=True)
    for folder in (out / STAGING, out):
        try:
            os.rmdir(folder)
        except OSError:
            # Other tasks are there.
            return
