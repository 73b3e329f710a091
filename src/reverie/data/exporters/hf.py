"""Episodes as a dataset of the Hugging Face library ``datasets``, and back, exactly.

One row per frame: the frame as lossless PNG, the action and the reward that follow it (none at the
last frame of an episode), and the facts of the episode. The files are Parquet with the library's
own description of the columns, so ``datasets.load_dataset(FOLDER)`` knows which are pictures.
"""

import json
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from reverie.core.errors import DataError
from reverie.core.files import atomic_path, write_bytes
from reverie.core.registry import require_extra
from reverie.core.types import Episode, FrameSpec
from reverie.data.codecs import decode_png, encode_png
from reverie.data.store import EpisodeStore

_SPLIT_FOLDER = "data"
_ROWS_PER_FILE = 50_000
_CARD = "README.md"
OnEpisode = Callable[[int, int], None]


def export_hf(
    store: EpisodeStore,
    out: Path,
    *,
    rows_per_file: int = _ROWS_PER_FILE,
    on_episode: OnEpisode | None = None,
) -> int:
    """Write every episode of a store as a ``datasets`` dataset, one episode in memory at a time.

    Args:
        store: Where the episodes come from.
        out: A new folder.
        rows_per_file: Frames after which another Parquet file begins, with the next episode.
        on_episode: Told how many of how many episodes are written.

    Returns:
        The number of rows.

    Raises:
        DataError: The folder exists, or the store is empty.
    """
    parquet: Any = require_extra("pyarrow.parquet", "data", "write Parquet")
    # What a killed export left behind is written over.
    if is_exported(out) or (out.exists() and not (out / _SPLIT_FOLDER).is_dir()):
        raise DataError(f"'{out}' exists already. Name a new folder, or remove it first.")
    if not len(store):
        raise DataError(f"The store at '{store.path}' has no episodes. Collect some first.")
    schema = _features().arrow_schema
    groups = _group(store, rows_per_file)
    done = total = 0
    for number, names in enumerate(groups):
        file = out / _SPLIT_FOLDER / f"train-{number:05d}-of-{len(groups):05d}.parquet"
        with atomic_path(file) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
            for name in names:
                table = _to_table(name, store.read_episode(name), schema)
                writer.write_table(table)
                done, total = done + 1, total + table.num_rows
                if on_episode is not None:
                    on_episode(done, len(store))
    # Last, so that a folder with a card is whole.
    write_bytes(out / _CARD, _card(store, total).encode())
    return total


def is_exported(folder: Path) -> bool:
    """Tell whether a folder holds a whole export."""
    return (folder / _CARD).exists()


def read_hf(folder: Path) -> Iterator[tuple[str, Episode]]:
    """Read a dataset that ``export_hf`` wrote; yields names and episodes, one in memory at a time.

    Raises:
        DataError: The folder is incomplete, or a file is damaged.
    """
    parquet: Any = require_extra("pyarrow.parquet", "data", "read Parquet")
    files = sorted((folder / _SPLIT_FOLDER).glob("*.parquet"))
    if not is_exported(folder) or not files:
        raise DataError(
            f"'{folder}' is no whole dataset of 'reverie data export'. Export it again."
        )
    for path in files:
        rows: list[dict[str, Any]] = []
        try:
            # One batch at a time: rows of an episode may lie in two.
            for batch in parquet.ParquetFile(path).iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    if rows and row["episode_id"] != rows[0]["episode_id"]:
                        yield rows[0]["episode_id"], _to_episode(rows)
                        rows = []
                    rows.append(row)
        except (OSError, KeyError, ValueError) as error:
            raise DataError(f"'{path}' cannot be read: {error}. Export it again.") from error
        if rows:
            yield rows[0]["episode_id"], _to_episode(rows)


def import_hf(folder: Path, out: Path, *, codec: str = "webp") -> EpisodeStore:
    """Write an exported dataset into an episode store; names that are there are left out."""
    named = read_hf(folder)
    first = next(named, None)
    if first is None:
        raise DataError(f"'{folder}' has no rows.")
    height, width = first[1].frames.shape[1:3]
    spec = FrameSpec(height_px=height, width_px=width)
    store = EpisodeStore.open_or_create(out, spec, codec)
    with store.writer() as writer:
        for name, episode in chain([first], named):
            if name not in store:
                writer.append(episode, id=name)
    store.refresh()
    return store


def _features() -> Any:
    datasets: Any = require_extra("datasets", "data", "export to Hugging Face's datasets")
    value = datasets.Value
    return datasets.Features(
        {
            "episode_id": value("string"),
            "step": value("int32"),
            "frame": datasets.Image(),
            "action": datasets.Sequence(value("float32")),
            "reward": value("float32"),
            "terminated": value("bool"),
            "truncated": value("bool"),
            "task": value("string"),
            "source": value("string"),
            "behaviour": value("string"),
            "seed": value("int64"),
            "score": value("float64"),
            "parameters": value("string"),
        }
    )


def _to_table(name: str, episode: Episode, schema: Any) -> Any:
    arrow: Any = require_extra("pyarrow", "data", "write Parquet")
    count, steps = len(episode.frames), len(episode.rewards)
    is_last = [False] * steps + [True]
    columns = {
        "episode_id": [name] * count,
        "step": list(range(count)),
        "frame": [{"bytes": encode_png(frame), "path": None} for frame in episode.frames],
        "action": [action.tolist() for action in episode.actions] + [None],
        "reward": [float(reward) for reward in episode.rewards] + [None],
        "terminated": [last and episode.terminated for last in is_last],
        "truncated": [last and not episode.terminated for last in is_last],
        "task": [episode.task] * count,
        "source": [episode.source] * count,
        "behaviour": [*(episode.behaviours or [None] * steps), None],
        "seed": [episode.seed] * count,
        "score": [episode.score] * count,
        "parameters": [json.dumps(dict(episode.parameters), sort_keys=True)] * count,
    }
    return arrow.table(columns, schema=schema)


def _to_episode(rows: list[dict[str, Any]]) -> Episode:
    first, last, taken = rows[0], rows[-1], rows[:-1]
    if [row["step"] for row in rows] != list(range(len(rows))) or last["action"] is not None:
        raise DataError(
            f"The rows of episode '{first['episode_id']}' are not whole and in order. Export it "
            f"again."
        )
    width = len(taken[0]["action"]) if taken else 1
    named = tuple(row["behaviour"] for row in taken)
    return Episode(
        frames=np.stack([_from_png(row["frame"]["bytes"]) for row in rows]),
        actions=np.array([row["action"] for row in taken], np.float32).reshape(-1, width),
        rewards=np.array([row["reward"] for row in taken], np.float32),
        terminated=last["terminated"],
        task=first["task"],
        source=first["source"],
        seed=first["seed"],
        score=first["score"],
        behaviours=() if None in named else named,
        parameters=json.loads(first["parameters"]),
    )


def _from_png(content: bytes) -> np.ndarray:
    picture = decode_png(content)
    if picture is None:
        raise DataError("A picture of the dataset is damaged. Export it again.")
    return picture


def _group(store: EpisodeStore, rows_per_file: int) -> list[list[str]]:
    """Put whole episodes together until a file is full."""
    groups: list[list[str]] = [[]]
    rows = 0
    for entry in store.index:
        if groups[-1] and rows + entry.num_frames > rows_per_file:
            groups.append([])
            rows = 0
        groups[-1].append(entry.id)
        rows += entry.num_frames
    return groups


def _card(store: EpisodeStore, num_rows: int) -> str:
    tasks = sorted({entry.task for entry in store.index})
    spec = store.frame_spec
    return (
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n"
        f"    path: {_SPLIT_FOLDER}/train-*.parquet\n---\n\n"
        f"# Episodes of {', '.join(tasks)}\n\n"
        f"{len(store)} episodes, {num_rows} frames of {spec.height_px}x{spec.width_px}, written "
        f"by `reverie data export`. One row per frame: `action` and `reward` follow the frame and "
        f"are null at the last one of an episode; `terminated` says that the task ended there, "
        f"`truncated` that it was cut. Actions lie in [-1, 1].\n"
    )
