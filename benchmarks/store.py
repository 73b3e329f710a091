"""Random windows from the episode store against two plain ways of storing the same frames.

The same windows are read by all readers, turn about, in one run; the ratios are taken round by
round, so that a busy machine slows all of them alike.

    python benchmarks/store.py --json store.json
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from reverie.collect.collector import collect
from reverie.collect.order import CollectOrder
from reverie.core.seeds import numpy_rng
from reverie.data.store import EpisodeStore
from reverie.data.windows import WindowRef, list_windows

TASKS = (
    "pygame-point-maze-var1",
    "pygame-point-maze-var3",
    "pygame-cartpole-balance",
    "pygame-cartpole-swingup",
    "pygame-pong",
    "pygame-reacher-easy",
)
POLICY = "noise-ou"
WINDOW_FRAMES = 24
PLAIN_STRIP_FRAMES = 16
WARM_UP_ROUNDS = 1

Reader = Callable[[WindowRef], np.ndarray]


class PlainWebpStrips:
    """Lossless WebP strips of 16 frames side by side, decoded one after another."""

    def __init__(self, folder: Path, store: EpisodeStore) -> None:
        """Write one file per episode: the strips, and their offsets beside it."""
        self._folder = folder
        self._files: dict[str, tuple[Path, list[int]]] = {}
        folder.mkdir()
        for number, entry in enumerate(store.index):
            frames = store.read_episode(entry.id).frames
            strips = [
                _encode(".webp", frames[start : start + PLAIN_STRIP_FRAMES])
                for start in range(0, len(frames), PLAIN_STRIP_FRAMES)
            ]
            path = folder / f"{number}.chunks"
            path.write_bytes(b"".join(strips))
            offsets = np.cumsum([0, *map(len, strips)]).tolist()
            self._files[entry.id] = (path, offsets)

    def read(self, ref: WindowRef) -> np.ndarray:
        """Decode the strips of a window and cut it out."""
        path, offsets = self._files[ref.episode_id]
        first = ref.start // PLAIN_STRIP_FRAMES
        last = (ref.start + ref.length - 1) // PLAIN_STRIP_FRAMES
        pieces: list[np.ndarray] = []
        with path.open("rb") as stream:
            for strip in range(first, last + 1):
                stream.seek(offsets[strip])
                content = stream.read(offsets[strip + 1] - offsets[strip])
                pieces.append(_cut(cv2.imdecode(np.frombuffer(content, np.uint8), 1)))
        start = ref.start - first * PLAIN_STRIP_FRAMES
        return np.concatenate(pieces)[start : start + ref.length]

    def num_bytes(self) -> int:
        """Size of all files."""
        return sum(path.stat().st_size for path, _ in self._files.values())


class PngStrips:
    """One PNG strip per episode, as published multi-task data sets come."""

    def __init__(self, folder: Path, store: EpisodeStore) -> None:
        """Write one picture per episode."""
        self._files: dict[str, Path] = {}
        folder.mkdir()
        for number, entry in enumerate(store.index):
            path = folder / f"{number}.png"
            path.write_bytes(_encode(".png", store.read_episode(entry.id).frames))
            self._files[entry.id] = path

    def read(self, ref: WindowRef) -> np.ndarray:
        """Decode the whole strip and cut the window out."""
        image = cv2.imread(str(self._files[ref.episode_id]), cv2.IMREAD_COLOR)
        return _cut(
            image[:, ref.start * image.shape[0] : (ref.start + ref.length) * image.shape[0]]
        )

    def num_bytes(self) -> int:
        """Size of all files."""
        return sum(path.stat().st_size for path in self._files.values())


def main() -> None:
    """Collect, write all formats, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--windows", type=int, default=12, help="windows per round")
    parser.add_argument("--json", type=Path, default=None, help="write the numbers here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        numbers = measure(Path(folder), arguments.rounds, arguments.windows)
    _print(numbers)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(numbers, indent=1) + "\n")


def measure(folder: Path, num_rounds: int, num_windows: int) -> dict[str, object]:
    """Return milliseconds per window, ratios with their spread, and sizes."""
    order = CollectOrder(tasks=TASKS, policies={POLICY: 1.0}, episodes_per_task=1)
    collect(order, folder / "webp")
    store = EpisodeStore.open(folder / "webp")
    scratch = EpisodeStore.create(folder / "zstd", store.frame_spec, codec="zstd")
    with scratch.writer() as writer:
        for entry in store.index:
            writer.append(store.read_episode(entry.id), id=entry.id)
    scratch.refresh()
    plain = PlainWebpStrips(folder / "plain", store)
    png = PngStrips(folder / "png", store)
    readers: dict[str, Reader] = {
        "store": lambda ref: _frames(store, ref),
        "store, zstd": lambda ref: _frames(scratch, ref),
        "plain WebP strips of 16": plain.read,
        "PNG strip of the episode": png.read,
    }
    seconds, cpu_seconds = _time_turn_about(readers, store, num_rounds, num_windows)
    sizes = {
        "store": _folder_bytes(store.path),
        "store, zstd": _folder_bytes(scratch.path),
        "plain WebP strips of 16": plain.num_bytes(),
        "PNG strip of the episode": png.num_bytes(),
    }
    mine = np.array(seconds["store"])
    return {
        "num_frames": store.num_frames,
        "num_tasks": len(TASKS),
        "window_frames": WINDOW_FRAMES,
        "num_rounds": num_rounds,
        "readers": {
            name: {
                "ms_per_window": 1000 * float(np.median(seconds[name])),
                "cpu_ms_per_window": 1000 * float(np.median(cpu_seconds[name])),
                "times_slower_than_store": _spread(np.array(seconds[name]) / mine),
                "kb_per_frame": sizes[name] / store.num_frames / 1000,
            }
            for name in readers
        },
        "kb_per_frame_by_task": _bytes_by_task(store),
    }


def _time_turn_about(
    readers: dict[str, Reader], store: EpisodeStore, num_rounds: int, num_windows: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    windows = list_windows(store.index, WINDOW_FRAMES)
    rng = numpy_rng(0, "benchmark")
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in readers}
    for number in range(WARM_UP_ROUNDS + num_rounds):
        refs = [
            windows.ref(int(episode), int(rng.integers(windows.counts[episode])))
            for episode in rng.integers(len(windows.entries), size=num_windows)
        ]
        truth = [_frames(store, ref) for ref in refs]
        names = list(readers)
        for name in [*names[number % len(names) :], *names[: number % len(names)]]:
            elapsed, cpu_elapsed = _time_reader(readers[name], refs, truth)
            if number >= WARM_UP_ROUNDS:
                seconds[name].append(elapsed / num_windows)
                cpu_seconds[name].append(cpu_elapsed / num_windows)
    return seconds, cpu_seconds


def _time_reader(
    reader: Reader, refs: Sequence[WindowRef], truth: list[np.ndarray]
) -> tuple[float, float]:
    """Return wall time, and the time of all threads on a core: load does not stretch it."""
    elapsed, cpu_elapsed = 0.0, 0.0
    for ref, expected in zip(refs, truth, strict=True):
        started, cpu_started = time.perf_counter(), time.process_time()
        frames = reader(ref)
        elapsed += time.perf_counter() - started
        cpu_elapsed += time.process_time() - cpu_started
        if not np.array_equal(frames, expected):
            raise SystemExit(f"A reader gave other pixels for {ref}.")
    return elapsed, cpu_elapsed


def _frames(store: EpisodeStore, ref: WindowRef) -> np.ndarray:
    frames = store.read_window(*ref).frames
    assert frames is not None, "asked for frames"
    return frames


def _encode(suffix: str, frames: np.ndarray) -> bytes:
    num_frames, height, width, _ = frames.shape
    image = frames.transpose(1, 0, 2, 3).reshape(height, num_frames * width, 3)
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    _, content = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return content.tobytes()


def _cut(image: np.ndarray) -> np.ndarray:
    height, width, _ = image.shape
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return image.reshape(height, width // height, height, 3).transpose(1, 0, 2, 3)


def _folder_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in (path / "shards").iterdir())


def _bytes_by_task(store: EpisodeStore) -> dict[str, float]:
    sizes: dict[str, float] = {}
    for entry in store.index:
        sizes[entry.task] = store.stored_bytes(entry.id) / entry.num_frames / 1000
    return sizes


def _spread(ratios: np.ndarray) -> dict[str, float]:
    low, middle, high = np.percentile(ratios, [10, 50, 90])
    return {"p10": float(low), "median": float(middle), "p90": float(high)}


def _print(numbers: dict[str, object]) -> None:
    table = Table(
        title=f"Random {WINDOW_FRAMES}-frame windows at 224x224, {numbers['num_frames']} frames"
    )
    for name in ("reader", "ms a window", "CPU ms", "times slower (p10 … p90)", "KB a frame"):
        table.add_column(name, justify="left" if name == "reader" else "right")
    readers = numbers["readers"]
    assert isinstance(readers, dict)
    for name, row in readers.items():
        ratio = row["times_slower_than_store"]
        table.add_row(
            name,
            f"{row['ms_per_window']:.2f}",
            f"{row['cpu_ms_per_window']:.2f}",
            f"{ratio['median']:.2f} ({ratio['p10']:.2f} … {ratio['p90']:.2f})",
            f"{row['kb_per_frame']:.2f}",
        )
    console = Console()
    console.print(table)
    by_task = numbers["kb_per_frame_by_task"]
    assert isinstance(by_task, dict)
    console.print("KB a frame: " + ", ".join(f"{k} {v:.2f}" for k, v in by_task.items()))


if __name__ == "__main__":
    main()
