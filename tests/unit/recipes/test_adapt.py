"""The closed loop of targeted collection: what it leaves, and that nothing of it is lost."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reverie.core.errors import ConfigError, UnknownNameError
from reverie.data.store import EpisodeStore
from reverie.models.load import load_world_model, save_world_model, weights_hash
from reverie.recipes.adapt import AdaptOrder, replayed_tasks, run_adapt
from reverie.recipes.finetune import FinetuneConfig
from reverie.train.phase import Surroundings
from tests.support.small_world import make_small_world
from tests.support.tiny_adapt import KNOWN_TASK, NEW_TASK, tiny_order


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_world_model(folder, make_small_world(tasks=(KNOWN_TASK,)))
    return folder


def adapt(base: Path, folder: Path, order: AdaptOrder | None = None) -> dict[str, object]:
    around = Surroundings(folder=folder, seed=0)
    return run_adapt(base, order or tiny_order(), around, num_workers=0)


def stored(folder: Path) -> list[str]:
    return sorted(entry.id for entry in EpisodeStore.open(folder / "data").index)


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    adapt(base, folder)
    return folder


def test_the_loop_collects_learns_and_collects_again(base: Path, whole: Path) -> None:
    names = [name for name in stored(whole) if name.startswith(NEW_TASK)]
    behaviours = [name.split("/")[1:3] for name in sorted(names, key=lambda n: n.split("/")[2])]
    assert behaviours == [
        ["random", "000000"],
        ["curiosity", "000001"],
        ["curiosity", "000002"],
        ["curiosity", "000003"],
    ]
    assert len([name for name in stored(whole) if name.startswith(KNOWN_TASK)]) == 2
    worlds = [
        load_world_model(whole / place) for place in ("base", "round-0/model", "round-1/model")
    ]
    assert all(world.tasks == (KNOWN_TASK, NEW_TASK) for world in worlds)
    assert len({weights_hash(world) for world in worlds}) == 3
    numbers = json.loads((whole / "adapt.json").read_text())
    assert len(numbers["rounds"]) == 3
    assert all(set(measured) == {NEW_TASK} for measured in numbers["rounds"])
    assert (whole / "round-1" / "model" / "readings.json").exists()


def test_readings_of_every_curious_step_are_kept(whole: Path) -> None:
    store = EpisodeStore.open(whole / "data")
    entries = {
        entry.id.split("/")[2]: entry for entry in store.index if entry.source == "curiosity"
    }
    files = sorted((whole / "readings").glob("*.jsonl"))
    assert [file.stem for file in files] == sorted(entries)
    for file in files:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert [row["step"] for row in rows] == list(range(entries[file.stem].num_steps))
        assert all(np.isfinite(row["curiosity"]) and row["motion"] >= 0 for row in rows)


def test_a_finished_loop_plays_and_trains_nothing_again(base: Path, whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*.safetensors")}
    names = stored(whole)
    numbers = adapt(base, whole)
    assert numbers == json.loads((whole / "adapt.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*.safetensors")} == before
    assert stored(whole) == names


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_loop_killed_again_and_again_ends_as_if_it_had_never_been(
    base: Path, whole: Path, tmp_path: Path
) -> None:
    status, num_kills = 1, 0
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.tiny_adapt", str(base)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        while status != 0:
            # Longer each time: it dies at another point, and ends after some dozens of deaths.
            process.stdin.write(f"{tmp_path / 'run'} {num_kills + 1}\n")
            process.stdin.flush()
            line = process.stdout.readline().split()
            assert line[0] == "ended"
            status = int(line[1])
            assert status in (0, signal.SIGKILL)
            num_kills += 1
    assert process.returncode == 0 and num_kills > 5
    assert stored(tmp_path / "run") == stored(whole)
    hashes = [
        weights_hash(load_world_model(place / "round-1" / "model"))
        for place in (whole, tmp_path / "run")
    ]
    assert hashes[0] == hashes[1]


def test_a_folder_of_another_order_is_refused(base: Path, whole: Path) -> None:
    with pytest.raises(ConfigError, match="was begun with other settings: num_episodes was 4"):
        adapt(base, whole, replace(tiny_order(), num_episodes=5))


def test_orders_that_cannot_be_carried_out_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="Every round needs an episode: got 5 rounds for 4"):
        replace(tiny_order(), num_rounds=5)
    with pytest.raises(ConfigError, match="motion is measured on them"):
        replace(tiny_order(), num_warmup=0)
    order = tiny_order()
    with pytest.raises(UnknownNameError, match="Unknown policy 'curious'"):
        replace(order, explore=replace(order.explore, policy="curious"))
    with pytest.raises(ConfigError, match="target_share must lie between 0 and 1"):
        FinetuneConfig(target_share=1.0)


def test_only_known_tasks_that_can_be_played_here_are_replayed() -> None:
    order = tiny_order()
    known = (KNOWN_TASK, NEW_TASK, "a-task-of-a-release")
    assert replayed_tasks(known, order) == (KNOWN_TASK,)
    assert replayed_tasks(known, replace(order, replay_tasks=())) == ()
    with pytest.raises(ConfigError, match="Unknown task 'toy-paints'. Did you mean 'toy-paint'"):
        replayed_tasks(known, replace(order, replay_tasks=("toy-paints",)))
