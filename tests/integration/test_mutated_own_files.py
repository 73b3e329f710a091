"""Mutated files that Reverie wrote itself: refused by name, or they mean the same."""

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reverie.core.errors import ReverieError
from reverie.data.check import check_store
from reverie.data.store import EpisodeStore
from reverie.models.load import load_world_model, read_manifest, save_world_model, weights_hash
from reverie.parallel.checkpoint import CheckpointFolder, Snapshot
from reverie.train.phase import PhaseFolder
from tests.support.mutate import mutate
from tests.support.small_world import make_small_world
from tests.support.tiny import write_tiny_store

NUM_MUTATIONS = 300


@dataclass(frozen=True)
class Case:
    """A file of ours, and what its reader makes of it."""

    file: str
    read: Callable[[Path], str]


def model_of(root: Path) -> str:
    folder = root / "model"
    return weights_hash(load_world_model(folder)) + repr(read_manifest(folder))


def store_of(root: Path) -> str:
    store = EpisodeStore.open(root / "store")
    parts: list[Any] = [store.spec]
    for entry in store.index:
        episode = store.read_episode(entry.id)
        parts += [entry, episode.frames.tobytes(), episode.actions.tobytes(), episode.rewards]
    # What a damaged shard loses is lost loudly: the check names it.
    return repr(parts) + repr(check_store(root / "store").is_good)


def checkpoint_of(root: Path) -> str:
    found = CheckpointFolder(path=root / "checkpoints").load("tokenizer")
    assert found is not None
    return repr((found.step, found.config, found.scalars, found.tensors["weights"]))


def phase_of(root: Path) -> str:
    phase = PhaseFolder(path=root / "phase", config={"seed": 1, "lr": 2e-3})
    phase.claim()
    return repr(phase.done)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Case, ...]]:
    root = tmp_path_factory.mktemp("own")
    save_world_model(root / "model", make_small_world(), metrics={"psnr_db": 1.5})
    write_tiny_store(root / "store")
    CheckpointFolder(path=root / "checkpoints").save(
        Snapshot(
            kind="tokenizer",
            step=3,
            config={"seed": 3},
            tensors={"weights": {"a": torch.arange(6.0)}},
            scalars={"sampler": {"step": 3}},
        )
    )
    phase = PhaseFolder(path=root / "phase", config={"seed": 1, "lr": 2e-3})
    phase.claim()
    phase.finish({"latent_std": 0.25, "trained_s": 12.5})
    readers = {
        "model": model_of,
        "store": store_of,
        "checkpoints": checkpoint_of,
        "phase": phase_of,
    }
    files = [path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file()]
    kept = [file for file in files if file.name != "card.md"]
    return root, tuple(Case(str(file), readers[file.parts[0]]) for file in kept)


def outcome(case: Case, root: Path) -> str:
    try:
        return case.read(root)
    except ReverieError as error:
        assert str(root) in str(error) and "Traceback" not in str(error), error
        return "refused"


def test_no_harmed_file_of_ours_is_read_as_something_else(
    written: tuple[Path, tuple[Case, ...]],
) -> None:
    root, cases = written
    assert len(cases) > 9
    rng = random.Random(7)
    wanted = {case.file: outcome(case, root) for case in cases}
    assert "refused" not in wanted.values()
    found: Counter[str] = Counter()
    for index in range(NUM_MUTATIONS):
        case = cases[index % len(cases)]
        path = root / case.file
        whole = path.read_bytes()
        kind, harmed = mutate(whole, rng)
        path.write_bytes(harmed)
        try:
            got = outcome(case, root)
        finally:
            path.write_bytes(whole)
        if got != "refused":
            assert got == wanted[case.file], f"{case.file} after '{kind}' was read as another"
            got = "the same"
        found[got] += 1
    print(dict(found))
    assert found["refused"] > 0.8 * NUM_MUTATIONS


def test_files_of_before_there_were_checksums_are_read(
    written: tuple[Path, tuple[Case, ...]],
) -> None:
    root, cases = written
    sealed = 0
    for case in cases:
        path = root / case.file
        if path.suffix != ".json" and path.name != "latest":
            continue
        whole = path.read_bytes()
        values = json.loads(whole)
        wanted = outcome(case, root)
        if values.pop("checksum", None) is None:
            # Another file lists it with its checksum.
            continue
        sealed += 1
        path.write_text(json.dumps(values))
        try:
            got = outcome(case, root)
        finally:
            path.write_bytes(whole)
        assert got == wanted != "refused"
    assert sealed >= 5


def test_a_number_changed_by_hand_is_refused_with_the_way_out(
    written: tuple[Path, tuple[Case, ...]],
) -> None:
    root, _ = written
    path = root / "model" / "model.json"
    whole = path.read_text()
    path.write_text(whole.replace('"psnr_db": 1.5', '"psnr_db": 9.5'))
    try:
        with pytest.raises(ReverieError, match=r"model\.json.*by hand, delete its line 'checksum'"):
            read_manifest(root / "model")
    finally:
        path.write_text(whole)
    assert np.isclose(read_manifest(root / "model").metrics["psnr_db"], 1.5)
