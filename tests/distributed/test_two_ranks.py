"""Two gloo ranks do what one process does with the joined batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reverie.parallel.checkpoint import CheckpointFolder, Snapshot
from reverie.parallel.ranks import Ranks
from tests.support.rank_process import train

NUM_STEPS = 6


def run_two_ranks(folder: Path, num_steps: int) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = ["--nproc-per-node=2", "-m", "tests.support.rank_process"]
    return subprocess.run(
        [*launcher, *command, str(folder), "4", str(num_steps)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def load(folder: Path) -> Snapshot:
    snapshot = CheckpointFolder(path=folder).load("regression")
    assert snapshot is not None
    return snapshot


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks") / "two"
    # Interrupted in the middle, so that both ranks also resume.
    for num_steps in (NUM_STEPS // 2, NUM_STEPS):
        finished = run_two_ranks(folder, num_steps)
        assert finished.returncode == 0, finished.stderr[-20_000:]
        assert "FutureWarning" not in finished.stderr
        # One left over asks for the interpreter's lock when there is none any more, and aborts.
        assert finished.stdout.split() == [], "threads of the group outlive it"
    return folder


def test_two_ranks_equal_one_process_on_the_joined_batch(two_ranks: Path, tmp_path: Path) -> None:
    # The schedule depends on the length, so the one process is interrupted as well.
    for num_steps in (NUM_STEPS // 2, NUM_STEPS):
        train(tmp_path / "one", 8, num_steps, Ranks())
    one, two = load(tmp_path / "one"), load(two_ranks)
    for group in ("weights", "ema", "optimizer"):
        assert one.tensors[group].keys() == two.tensors[group].keys()
        for name, value in one.tensors[group].items():
            torch.testing.assert_close(two.tensors[group][name], value, rtol=1e-5, atol=1e-6)


def test_both_generators_are_saved_and_differ(two_ranks: Path) -> None:
    generators = load(two_ranks).tensors["generators"]
    assert generators.keys() == {"rank0", "rank1"}
    assert not torch.equal(generators["rank0"], generators["rank1"])
