"""A contact sheet: what is in a store, at a glance."""

import cv2
import numpy as np
from jaxtyping import UInt8

from reverie.core.errors import ConfigError, DataError
from reverie.data.shards import EpisodeEntry
from reverie.data.store import EpisodeStore

THUMBNAIL_PX = 96
GAP_PX = 4
CAPTION_PX = 18
_PAPER = 250
_INK = (60, 60, 60)


def draw_sheet(
    store: EpisodeStore, *, rows_per_task: int = 2, num_columns: int = 10
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw frames spread evenly over a few episodes of every task, with captions.

    Args:
        store: A store with at least one episode.
        rows_per_task: Episodes per task, from as many different behaviours as there are.
        num_columns: Frames per episode.
    """
    if rows_per_task < 1 or num_columns < 1:
        raise ConfigError(
            f"A sheet needs at least 1 row per task and 1 column, got {rows_per_task} and "
            f"{num_columns}. Try 2 and 10."
        )
    if not store.index:
        raise DataError(f"{store.path} holds no episodes yet. Fill it with 'reverie collect'.")
    rows = [
        _draw_row(store, entry, num_columns)
        for task in sorted({entry.task for entry in store.index})
        for entry in _choose(store, task, rows_per_task)
    ]
    return np.concatenate(rows)


def _choose(store: EpisodeStore, task: str, count: int) -> list[EpisodeEntry]:
    """Take episodes in turn from each behaviour, so that a sheet shows them all."""
    seen: dict[str, int] = {}
    ranked: list[tuple[int, EpisodeEntry]] = []
    for entry in store.index:
        if entry.task == task:
            seen[entry.source] = seen.get(entry.source, -1) + 1
            ranked.append((seen[entry.source], entry))
    return [entry for _, entry in sorted(ranked, key=lambda pair: pair[0])[:count]]


def _draw_row(
    store: EpisodeStore, entry: EpisodeEntry, num_columns: int
) -> UInt8[np.ndarray, "h w 3"]:
    cell = THUMBNAIL_PX + GAP_PX
    row = np.full((CAPTION_PX + cell, GAP_PX + num_columns * cell, 3), _PAPER, dtype=np.uint8)
    ending = "terminated" if entry.terminated else "time limit"
    score = "" if np.isnan(entry.score) else f", score {entry.score:.2f}"
    caption = f"{entry.task}: {entry.source}, {entry.num_steps} steps, {ending}{score}"
    origin = (GAP_PX, CAPTION_PX - 5)
    cv2.putText(row, caption, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK, 1, cv2.LINE_AA)
    numbers = np.unique(np.linspace(0, entry.num_frames - 1, num_columns).round().astype(int))
    for column, number in enumerate(numbers.tolist()):
        frames = store.read_window(entry.id, number, 1).frames
        assert frames is not None, "windows carry frames unless told otherwise"
        side = (THUMBNAIL_PX, THUMBNAIL_PX)
        left = GAP_PX + column * cell
        row[CAPTION_PX : CAPTION_PX + THUMBNAIL_PX, left : left + THUMBNAIL_PX] = cv2.resize(
            frames[0], side, interpolation=cv2.INTER_AREA
        )
    return row
