"""The commands below ``reverie data``."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from reverie.core.errors import ConfigError, DataError
from reverie.core.files import write_bytes
from reverie.data.check import StoreReport, check_store, repair_store
from reverie.data.codecs import encode_png
from reverie.data.sheet import draw_sheet
from reverie.data.store import EpisodeEntry, EpisodeStore


def show(store: Path, /, *, out: Path | None = None, rows: int = 2, columns: int = 10) -> None:
    """Describe stored episodes in a table, and draw a contact sheet of their frames.

    Look at your data before you train on it: a black frame, a still episode or a mirrored colour
    is seen here in a second and costs a day later.

    Example: reverie data show data/episodes --out sheet.png

    Args:
        store: Folder of the store.
        out: Where to save the sheet, as PNG; without it only the table is shown.
        rows: Episodes per task on the sheet.
        columns: Frames per episode on the sheet.
    """
    opened = EpisodeStore.open(store)
    Console().print(_tabulate(opened))
    if out is None:
        return
    if out.suffix.lower() != ".png":
        raise ConfigError(f"The sheet is written as PNG, got --out {out}. Name it sheet.png.")
    sheet = draw_sheet(opened, rows_per_task=rows, num_columns=columns)
    write_bytes(out, encode_png(sheet))
    Console().print(f"Saved {out} ({sheet.shape[1]}x{sheet.shape[0]} pixels).", soft_wrap=True)


def check(store: Path, /, *, repair: bool = False) -> int:
    """Verify every checksum and decode every frame; the exit code is 1 if anything is damaged.

    Example: reverie data check data/episodes

    Args:
        store: Folder of the store.
        repair: Move damaged shards to the folder 'quarantine' of the store, and delete what
            killed writers left behind more than an hour ago.
    """
    console = Console()
    with console.status("reading") as status:
        report = check_store(
            store, progress=lambda done, total: status.update(f"shard {done} of {total}")
        )
    for problem in report.problems:
        console.print(f"[red]damaged[/red] {problem}", highlight=False, soft_wrap=True)
    if repair:
        repair_store(store, report)
    console.print(_summary(store, report, repair), highlight=False, soft_wrap=True)
    return 0 if report.is_good else 1


def import_release(
    source: Path,
    /,
    *,
    out: Path,
    tasks: tuple[str, ...] = (),
    partitions: tuple[str, ...] = (),
    tasks_json: Path | None = None,
    shards: Path | None = None,
    size_px: int | None = None,
    workers: int = 1,
) -> int:
    """Convert data of the MMBench2 release into an episode store, losslessly and verified.

    Nothing in the files is run. Each task is checked as a whole, converted, read back and
    compared, and only then listed; the same command goes on after an interruption. A damaged or
    missing file stops the conversion with its name.

    Example: reverie data import downloads/mmbench2 --partitions expert --out data/mmbench2

    Args:
        source: Folder of a partition, or the folder that holds the partitions.
        out: The episode store.
        tasks: Tasks to convert; all that are there by default.
        partitions: Partitions to convert; all that are there by default.
        tasks_json: The release's table of tasks, for the widths of their actions; without it,
            Reverie's own tasks know theirs.
        shards: Folder of preprocessed shards, to be read instead of the PNG strips.
        size_px: Resample frames to this side by area; by default they stay as they are.
        workers: Processes; each needs about 1.5 GB of memory for full PNG strips.
    """
    from reverie.data.importers.mmbench2 import ImportResult, import_items, list_items

    widths = _widths(tasks_json)
    items = list_items(source, widths=widths, tasks=tasks, partitions=partitions, shards=shards)
    console = Console(highlight=False)
    with console.status(f"0 of {len(items)} tasks") as status:
        done: list[str] = []

        def tell(result: ImportResult) -> None:
            done.append(result.name)
            state = "" if result.is_new else ", there already"
            clamped = f", {result.num_clamped} values clamped" if result.num_clamped else ""
            console.print(
                f"{result.name}: {result.num_episodes} episodes, {result.num_frames} frames"
                f"{clamped}{state}",
                soft_wrap=True,
            )
            status.update(f"{len(done)} of {len(items)} tasks")

        results = import_items(items, out, side_px=size_px, num_workers=workers, on_done=tell)
    frames = sum(result.num_frames for result in results)
    console.print(f"{len(results)} tasks, {frames} frames are in {out}.", soft_wrap=True)
    return 0


def _widths(tasks_json: Path | None) -> Callable[[str], int]:
    """Return what tells the width of a task's actions."""
    from reverie.data.download import verify_listed
    from reverie.data.importers.mmbench2_tasks import read_action_widths
    from reverie.envs.registry import task_names, task_spec

    listed: dict[str, int] = {}
    if tasks_json is not None:
        verify_listed([tasks_json])
        listed = read_action_widths(tasks_json)
    known = set(task_names())

    def width(task: str) -> int:
        if task in listed:
            return listed[task]
        if task in known:
            return task_spec(task).action.width
        raise DataError(
            f"How wide the actions of '{task}' are is not known. Give --tasks-json, the table of "
            f"tasks of the release."
        )

    return width


def download_release(
    *,
    partitions: tuple[str, ...] = (),
    tasks: tuple[str, ...] = (),
    all: bool = False,  # noqa: A002
    out: Path = Path("downloads/mmbench2"),
    revision: str = "main",
    repo: str = "nicklashansen/mmbench2",
) -> int:
    """Fetch MMBench2's released data from the Hub: partitions, single tasks, or all 114 GB.

    Every file's checksum is verified. An interrupted download goes on where it stopped. A folder
    holds one commit; name it with --revision to stay with it. HF_HUB_OFFLINE=1, HF_ENDPOINT and
    HF_HOME are honoured.

    Example: reverie data download --partitions expert --tasks walker-run

    Args:
        partitions: Such as expert, mixed-small, mixed-large, zeros, val, test.
        tasks: Such as walker-run.
        all: Everything, where neither partitions nor tasks are named.
        out: Where the files go; 'reverie data import' turns them into a store.
        revision: Commit, tag or branch.
        repo: Repository on the Hub.
    """
    from reverie.cli.downloads import run_download
    from reverie.data.download import DownloadOrder, wants_data

    if not (partitions or tasks or all):
        raise ConfigError(
            "The whole data set is 114 GB. Name --partitions or --tasks, or ask for --all."
        )
    words = [f"partition {name}" for name in partitions] + [f"task {name}" for name in tasks]
    order = DownloadOrder(
        repo=repo,
        kind="dataset",
        revision=revision,
        wants=wants_data(partitions, tasks),
        what=", ".join(words) or "data",
        out=out,
    )
    folder = run_download(order)
    Console(highlight=False).print(
        f"Next: reverie data import {folder} --out data/mmbench2", soft_wrap=True
    )
    return 0


def export(store: Path, /, *, out: Path, to: Literal["hf"] = "hf") -> None:
    """Write stored episodes as a dataset of Hugging Face's library datasets, losslessly.

    One row per frame, as Parquet with pictures; 'datasets.load_dataset(FOLDER)' reads it, and
    'reverie data import-hf' brings it back exactly. One episode is in memory at a time.

    Example: reverie data export data/episodes --out exported

    Args:
        store: Folder of the store.
        out: A new folder.
        to: The format; there is this one.
    """
    from reverie.data.exporters.hf import export_hf

    console = Console(highlight=False)
    with console.status("writing") as status:
        rows = export_hf(
            EpisodeStore.open(store),
            out,
            on_episode=lambda done, total: status.update(f"episode {done} of {total}"),
        )
    console.print(f"{rows} rows are in {out}, as {to}.", soft_wrap=True)


def import_dataset(source: Path, /, *, out: Path) -> None:
    """Write a dataset that 'reverie data export' made into an episode store.

    Example: reverie data import-hf exported --out data/again

    Args:
        source: The dataset's folder.
        out: The store; names that are there already are left out.
    """
    from reverie.data.exporters.hf import import_hf

    store = import_hf(source, out)
    Console(highlight=False).print(
        f"{len(store)} episodes, {store.num_frames} frames are in {out}.", soft_wrap=True
    )


COMMANDS = {
    "show": show,
    "export": export,
    "import-hf": import_dataset,
    "check": check,
    "import": import_release,
    "download": download_release,
}


def _summary(store: Path, report: StoreReport, is_repaired: bool) -> str:
    state = "good" if report.is_good else f"{len(report.problems)} damaged shards"
    moved = ", moved to quarantine" if is_repaired and report.problems else ""
    per_frame = report.num_bytes / max(report.num_frames, 1) / 1000
    return (
        f"{store}: {state}{moved}; {report.num_episodes} episodes, {report.num_frames} frames, "
        f"{report.num_bytes / 1e6:.1f} MB ({per_frame:.2f} KB a frame); "
        f"{len(report.leftovers)} unlisted leftovers."
    )


def _tabulate(store: EpisodeStore) -> Table:
    spec = store.frame_spec
    title = f"{store.path}: {spec.height_px}x{spec.width_px} frames, codec {store.spec.codec}, "
    title += f"drawn {store.spec.quality}"
    table = Table(title=title)
    for name in ("task", "source", "episodes", "frames", "terminated", "mean score", "lanes"):
        table.add_column(name, justify="left" if name in ("task", "source") else "right")
    groups: defaultdict[tuple[str, str], list[EpisodeEntry]] = defaultdict(list)
    for entry in store.index:
        groups[entry.task, entry.source].append(entry)
    for (task, source), entries in sorted(groups.items()):
        scores = [entry.score for entry in entries if not np.isnan(entry.score)]
        table.add_row(
            task,
            source,
            str(len(entries)),
            str(sum(entry.num_frames for entry in entries)),
            str(sum(entry.terminated for entry in entries)),
            f"{np.mean(scores):.3f}" if scores else "-",
            str(entries[0].action_width),
        )
    return table
