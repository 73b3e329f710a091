"""Two gloo ranks do what one process does with the joined batch, with copies and in slices."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reverie.core.metrics import read_metrics
from reverie.parallel.checkpoint import CheckpointFolder, Snapshot
from reverie.parallel.ranks import Ranks
from reverie.parallel.slices import SLICES
from tests.support.rank_process import JOBS, TOTAL_STEPS, train

HALF = TOTAL_STEPS // 2
STRATEGIES = ("ddp", "fsdp")


def run_two_ranks(folder: Path, num_steps: int) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = ["--nproc-per-node=2", "-m", "tests.support.rank_process"]
    return subprocess.run(
        [*launcher, *command, str(folder), str(num_steps), *JOBS],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def load(folder: Path, kind: str = "regression") -> Snapshot:
    snapshot = CheckpointFolder(path=folder).load(kind)
    assert snapshot is not None
    return snapshot


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(folder / "metrics.jsonl")]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks") / "two"
    # Interrupted in the middle, so that both ranks also resume.
    for num_steps in (HALF, TOTAL_STEPS):
        finished = run_two_ranks(folder, num_steps)
        assert finished.returncode == 0, finished.stderr[-20_000:]
        assert "FutureWarning" not in finished.stderr
        # One left over asks for the interpreter's lock when there is none any more, and aborts.
        assert finished.stdout.split() == [], "threads of the group outlive it"
        if num_steps == HALF:
            shutil.copytree(folder, folder.with_name("half"))
    return folder


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks") / "one"
    # The schedule depends on the length, so the one process is interrupted as well.
    for num_steps in (HALF, TOTAL_STEPS):
        train(folder, num_steps, Ranks(), "regression-ddp")
    return folder


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_ranks_equal_one_process_on_the_joined_batch(
    two_ranks: Path, one_process: Path, strategy: str
) -> None:
    two = two_ranks / f"regression-{strategy}"
    assert_alike(load(two), load(one_process))
    torch.testing.assert_close(losses(two), losses(one_process), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_two_ranks_saved_goes_on_in_one_process_with_the_same_losses(
    two_ranks: Path, one_process: Path, strategy: str, tmp_path: Path
) -> None:
    saved = two_ranks.with_name("half") / f"regression-{strategy}"
    shutil.copytree(saved, tmp_path / "moved")
    train(tmp_path / "moved", TOTAL_STEPS, Ranks(), "regression-ddp")
    assert losses(tmp_path / "moved")[:HALF] == losses(saved)
    torch.testing.assert_close(
        losses(tmp_path / "moved"), losses(one_process), rtol=1e-5, atol=1e-6
    )
    assert_alike(load(tmp_path / "moved"), load(one_process))


def test_slices_and_copies_of_the_dynamics_learn_the_same(two_ranks: Path) -> None:
    copies, slices = (two_ranks / f"dynamics-{name}" for name in STRATEGIES)
    assert_alike(load(slices, "dynamics"), load(copies, "dynamics"))
    torch.testing.assert_close(losses(slices), losses(copies), rtol=1e-4, atol=1e-5)


def test_each_rank_writes_its_own_slices_and_nothing_is_pickled(two_ranks: Path) -> None:
    folder = CheckpointFolder(path=two_ranks / "regression-fsdp").latest()
    assert folder is not None
    kinds = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert kinds == {".json", ".safetensors"}
    assert len(list((folder / SLICES).iterdir())) == 2


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_both_generators_are_saved_and_differ(two_ranks: Path, strategy: str) -> None:
    generators = load(two_ranks / f"regression-{strategy}").tensors["generators"]
    assert generators.keys() == {"rank0", "rank1"}
    assert not torch.equal(generators["rank0"], generators["rank1"])


def assert_alike(mine: Snapshot, other: Snapshot) -> None:
    for group in ("weights", "ema", "optimizer"):
        assert mine.tensors[group].keys() == other.tensors[group].keys()
        for name, value in other.tensors[group].items():
            torch.testing.assert_close(mine.tensors[group][name], value, rtol=1e-4, atol=1e-5)
