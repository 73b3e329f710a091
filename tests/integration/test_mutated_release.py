"""Mutated and truncated release files: a clear error each, nothing run, nothing half-imported."""

import hashlib
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reverie.core.errors import ReverieError
from reverie.data.download import MANIFEST, verify_listed
from reverie.data.importers.mmbench2 import ImportItem, import_item
from reverie.data.importers.mmbench2_tasks import read_action_widths
from reverie.data.store import EpisodeStore
from reverie.models.convert.folder import import_folder
from reverie.models.convert.mmbench2 import TaskTable, read_task_table
from reverie.models.load import load_world_model, weights_hash
from tests.support.mutate import mutate
from tests.support.release import TASK, TINY

NUM_MUTATIONS = 300
SHORT = 18


@dataclass(frozen=True)
class Case:
    """A file of the release and what reads it; returns a checksum of what came out."""

    file: str
    read: Callable[[Path, Path], str]
    has_checksums: bool = True
    """False where the format itself cannot notice a changed pixel or digit."""


def model_of(release: Path, out: Path) -> str:
    # As the command does.
    verify_listed([release / "tokenizer.pt", release / "dynamics.pt"])
    import_folder(release, out, TaskTable(names=(TASK,)), num_flow_steps=8, context_noise=0.1)
    return weights_hash(load_world_model(out))


def data_of(folder: str, shards: str | None = None) -> Callable[[Path, Path], str]:
    def read(release: Path, out: Path) -> str:
        item = ImportItem(
            folder=release / folder,
            partition="expert",
            task=TASK,
            action_width=5,
            shards=None if shards is None else release / shards,
        )
        import_item(item, out)
        store = EpisodeStore.open(out)
        running = hashlib.sha256()
        for entry in store.index:
            episode = store.read_episode(entry.id)
            for part in (episode.frames, episode.actions, episode.rewards):
                running.update(np.ascontiguousarray(part).tobytes())
        return running.hexdigest()

    return read


def tasks_of(release: Path, out: Path) -> str:
    path = release / "tasks.json"
    verify_listed([path])
    table = read_task_table(path)
    assert table.embeddings is not None
    return f"{read_action_widths(path)} {table.names} {table.embeddings.tolist()}"


CHUNKS = f"shards/{TASK}/{TASK}_shard0000.chunks"
CASES = (
    Case("tokenizer.pt", model_of),
    Case("dynamics.pt", model_of),
    Case(f"dataset/{TASK}.pt", data_of("dataset")),
    Case(f"dataset/{TASK}-0.png", data_of("dataset")),
    Case(f"tensordict/{TASK}.pt", data_of("tensordict")),
    Case(CHUNKS, data_of("dataset", "shards"), has_checksums=False),
    Case(f"shards/{TASK}/{TASK}_index.json", data_of("dataset", "shards"), has_checksums=False),
    Case(f"raw/{TASK}/{TASK}_shard0000.pt", data_of("dataset", "raw")),
    Case("tasks.json", tasks_of, has_checksums=False),
)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny release with whole raw shards, and a table of either kind beside its strips."""
    root = tmp_path_factory.mktemp("release")
    for name in ("tokenizer.pt", "dynamics.pt", "tasks.json"):
        shutil.copy(TINY / name, root / name)
    shutil.copytree(TINY / "dataset", root / "dataset")
    shutil.copytree(TINY / "dataset", root / "tensordict")
    shutil.copy(TINY / "dataset_tensordict" / f"{TASK}.pt", root / "tensordict" / f"{TASK}.pt")
    shutil.copytree(TINY / "shards", root / "shards")
    with np.load(TINY / "frames.npz") as file:
        frames = torch.from_numpy(file["frames"])
    (root / "raw" / TASK).mkdir(parents=True)
    torch.save({"frames": frames}, root / "raw" / TASK / f"{TASK}_shard0000.pt")
    index = root / "raw" / TASK / f"{TASK}_index.json"
    index.write_text(json.dumps({f"{TASK}_shard0000.pt": len(frames)}))
    return root


def outcome(case: Case, release: Path, out: Path) -> str:
    """Read the file; a refusal must name a file, and leave nothing that could be taken for data."""
    try:
        return case.read(release, out)
    except ReverieError as error:
        text = str(error)
        assert str(release) in text and len(text) < 1500 and "Traceback" not in text, text
        if out.exists():
            assert len(EpisodeStore.open(out)) == 0
        return "refused"


def attack(release: Path, tmp_path: Path, count: int, *, is_listed: bool) -> Counter[str]:
    """Mutate files in turn; count refusals, and what was read in spite of the harm."""
    found: Counter[str] = Counter()
    rng = random.Random(20_260)
    wanted: dict[str, str] = {}
    for index in range(count):
        case = CASES[index % len(CASES)]
        path = release / case.file
        whole = path.read_bytes()
        if case.file not in wanted:
            wanted[case.file] = outcome(case, release, tmp_path / "whole" / str(index))
            assert wanted[case.file] != "refused"
        kind, harmed = mutate(whole, rng)
        if harmed == whole:
            harmed = whole[:-1]
        path.write_bytes(harmed)
        try:
            got = outcome(case, release, tmp_path / str(index))
        finally:
            path.write_bytes(whole)
            shutil.rmtree(tmp_path / str(index), ignore_errors=True)
        if got != "refused":
            got = "unchanged" if got == wanted[case.file] else f"changed: {case.file}"
            assert not is_listed, f"{case.file} after '{kind}' was read: {got}"
            assert got == "unchanged" or not case.has_checksums, f"{case.file} after '{kind}'"
        found[got.partition(":")[0]] += 1
    return found


def write_list(release: Path) -> None:
    """What ``reverie … download`` leaves beside the files."""
    files: dict[str, Any] = {}
    for path in sorted(release.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            content = path.read_bytes()
            files[path.relative_to(release).as_posix()] = {
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "git_sha1": None,
            }
    listed = {"repo": "a/b", "kind": "dataset", "commit": "c" * 40, "files": files}
    (release / MANIFEST).write_text(json.dumps(listed))


def test_harmed_files_are_refused_or_mean_the_same(release: Path, tmp_path: Path) -> None:
    found = attack(release, tmp_path, SHORT, is_listed=False)
    assert found["refused"] > 0.6 * SHORT


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_three_hundred_harmed_files_are_refused_or_mean_the_same(
    release: Path, tmp_path: Path
) -> None:
    found = attack(release, tmp_path, NUM_MUTATIONS, is_listed=False)
    print(dict(found))
    assert sum(found.values()) == NUM_MUTATIONS


def test_three_hundred_harmed_downloads_are_three_hundred_clear_errors(
    release: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "listed"
    shutil.copytree(release, copied)
    write_list(copied)
    found = attack(copied, tmp_path, NUM_MUTATIONS, is_listed=True)
    assert found == {"refused": NUM_MUTATIONS}


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path, call: Callable[..., Any], *arguments: Any) -> None:
        self.mark, self.call, self.arguments = mark, call, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (self.call, (str(self.mark), *self.arguments))


CALLS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "mkdir": (os.mkdir, ()),
    "open": (open, ("w",)),
    "copy": (shutil.copytree, ()),
    "load": (torch.load, ()),
    "numpy": (np.save, (np.zeros(1),)),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
@pytest.mark.parametrize("name", CALLS)
def test_no_file_of_the_release_can_run_anything(
    release: Path, tmp_path: Path, case: Case, name: str
) -> None:
    call, arguments = CALLS[name]
    mark, path = tmp_path / "executed", release / case.file
    whole = path.read_bytes()
    content: Any = Evil(mark, call, *arguments)
    if path.suffix == ".pt":
        good = torch.load(TINY / "tokenizer.pt", weights_only=True)
        content = {**good, "epoch": content}
    try:
        torch.save(content, path)
        assert outcome(case, release, tmp_path / "out") == "refused"
    finally:
        path.write_bytes(whole)
    assert not mark.exists() and not (tmp_path / "out").exists()
