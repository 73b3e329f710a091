"""Training as processes: killed at any moment, stopped by a person, run by recipes."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from reverie.core.metrics import read_metrics
from reverie.models.load import load_world_model
from reverie.parallel.checkpoint import CheckpointFolder
from reverie.recipes.registry import RECIPES, load_recipe
from reverie.recipes.training import Places, run
from reverie.train.phase import Surroundings
from tests.support.tiny import write_tiny_store

ENDLESS = 100_000


class Launcher:
    """Starts trainings of the tiny tokenizer, one at a time, and hears what they say."""

    def __init__(self, store: Path) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.training_process", str(store)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self._pid = 0

    def start(self, folder: Path, total_steps: int) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(f"{folder} {total_steps}\n")
        self._server.stdin.flush()
        self._pid = int(self.hear("process"))

    def hear(self, word: str) -> str:
        """Wait for a line that begins with a word, and return the rest of it."""
        assert self._server.stdout is not None
        for line in self._server.stdout:
            if line.startswith(word):
                return line.removeprefix(word).strip()
        raise AssertionError(f"the process ended without saying '{word}'")

    def signal(self, number: signal.Signals) -> list[str]:
        """Send a signal and return all that is said from there to the end."""
        assert self._server.stdout is not None
        os.kill(self._pid, number)
        said: list[str] = []
        for line in self._server.stdout:
            if line.startswith("ended"):
                break
            said.append(line.strip())
        return said

    def close(self) -> None:
        self._server.kill()
        self._server.communicate()


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    started = Launcher(write_tiny_store(tmp_path_factory.mktemp("data") / "store").path)
    yield started
    started.close()


def newest_step(folder: Path) -> int:
    snapshot = CheckpointFolder(path=folder / "checkpoints").load("tokenizer")
    return 0 if snapshot is None else snapshot.step


@pytest.mark.parametrize("num_kills", [10, pytest.param(50, marks=pytest.mark.long)])
def test_kill_at_random_moments_never_loses_a_reported_checkpoint(
    launcher: Launcher, tmp_path: Path, num_kills: int
) -> None:
    rng = random.Random(0)
    reported = 0
    for _ in range(num_kills):
        launcher.start(tmp_path / "run", ENDLESS)
        begun = int(launcher.hear("begins"))
        assert begun >= reported, "it did not resume from the last reported checkpoint"
        # Saving takes most of the time of so small a model: most kills hit a save.
        time.sleep(rng.uniform(0.02, 0.4))
        said = launcher.signal(signal.SIGKILL)
        saved = [int(line.split()[1]) for line in said if line.startswith("saved ")]
        reported = max([reported, *saved])
        assert newest_step(tmp_path / "run") >= reported
    assert reported > 0


def test_a_killed_training_ends_with_the_bits_of_an_undisturbed_one(
    launcher: Launcher, tmp_path: Path
) -> None:
    launcher.start(tmp_path / "killed", 40)
    launcher.hear("saved")
    launcher.signal(signal.SIGKILL)
    assert 0 < newest_step(tmp_path / "killed") < 40
    ends: list[str] = []
    for name in ("killed", "undisturbed"):
        launcher.start(tmp_path / name, 40)
        ends.append(launcher.hear("digest"))
        launcher.hear("ended")
    assert ends[0] == ends[1]


def test_ctrl_c_saves_and_says_how_to_go_on(launcher: Launcher, tmp_path: Path) -> None:
    launcher.start(tmp_path / "run", ENDLESS)
    launcher.hear("saved")
    said = launcher.signal(signal.SIGINT)
    text = next(line for line in said if line.startswith("stopped"))
    assert "Stopped by SIGINT after step" in text
    assert "Run the same command again to go on" in text
    step = int(text.split("after step ")[1].split()[0])
    assert newest_step(tmp_path / "run") == step


TWINS = [name for name in RECIPES.names() if name.endswith("-debug")]
# The release's twin does all that those of the other large models do.
LONG_TWINS = ("small-debug", "full-debug")
DREAMERS = [
    pytest.param(name, marks=[pytest.mark.long] if name in LONG_TWINS else [])
    for name in TWINS
    if name.partition("-")[0] in ("pocket", "domains", "small", "full", "release")
]


@pytest.mark.parametrize("name", DREAMERS)
def test_debug_recipes_train_every_phase_and_run_again_without_work(
    name: str, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    config = load_recipe(name)(())
    around = Surroundings(folder=tmp_path / "run", seed=config.seed)
    model = run(config, around, num_workers=0)
    places = Places(root=tmp_path / "run")
    stages = [stage.name for stage in config.stages]
    for phase in ("tokenizer", "dynamics", *stages):
        rows = read_metrics(places.root / phase / "metrics.jsonl")
        assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3]
    last = read_metrics(places.root / "dynamics" / "metrics.jsonl")[-1]
    for task in config.data.tasks:
        assert f"action_shuffle_ratio/{task}" in last
        assert (places.pictures / "dynamics-000003" / f"{task}.gif").exists()
    world = load_world_model(model)
    assert world.tasks == config.data.tasks
    assert (world.policy_head is not None) == bool(config.heads.num_policy_distances)
    before = {path: path.stat().st_mtime_ns for path in places.root.glob("*/metrics.jsonl")}
    run(config, around, num_workers=0)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_every_recipe_has_a_debug_twin() -> None:
    names = RECIPES.names()
    assert {name for name in names if not name.endswith("-debug")} == {
        name.removesuffix("-debug") for name in names if name.endswith("-debug")
    }
