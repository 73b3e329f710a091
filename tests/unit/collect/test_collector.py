"""A collection completes its order, whoever dies; nothing is collected twice."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reverie.cli.collect import parse_policies
from reverie.collect.collector import MAX_ATTEMPTS, CollectError, CollectStatus, collect
from reverie.collect.order import CollectOrder, list_items
from reverie.core.errors import ConfigError
from reverie.core.types import FrameSpec
from reverie.data.check import check_store
from reverie.data.store import EpisodeStore
from tests.support.processes import ended, is_running

SPEC = FrameSpec(height_px=16, width_px=16)


def _order(*, episodes: int = 4, max_steps: int = 12, seed: int = 0) -> CollectOrder:
    return CollectOrder(
        tasks=("toy-paint", "toy-fall"),
        policies={"random": 1.0, "mixed": 1.0},
        episodes_per_task=episodes,
        seed=seed,
        frame=SPEC,
        codec="zstd",
        step_limits=(max_steps,),
    )


def _ids(order: CollectOrder) -> list[str]:
    return sorted(item.id for item in list_items(order))


def test_an_order_is_completed_and_then_there_is_nothing_to_do(tmp_path: Path) -> None:
    seen: list[CollectStatus] = []
    status = collect(_order(), tmp_path / "s", progress=seen.append)
    assert (status.num_ordered, status.num_found, status.num_collected) == (8, 0, 8)
    assert [item.num_done for item in seen] == list(range(9))
    assert status.frames_per_s > 0
    store = EpisodeStore.open(tmp_path / "s")
    assert [entry.id for entry in store.index] == _ids(_order())
    assert status.num_frames == store.num_frames
    again = collect(_order(), tmp_path / "s")
    assert (again.num_found, again.num_collected) == (8, 0)


def test_a_larger_order_adds_only_what_is_missing(tmp_path: Path) -> None:
    collect(_order(episodes=2), tmp_path / "s")
    status = collect(_order(episodes=3), tmp_path / "s")
    assert (status.num_found, status.num_collected) == (4, 2)


def test_workers_make_the_same_episodes_as_one_process(tmp_path: Path) -> None:
    collect(_order(), tmp_path / "one")
    status = collect(_order(), tmp_path / "many", num_workers=2)
    assert status.num_collected == 8
    one, many = EpisodeStore.open(tmp_path / "one"), EpisodeStore.open(tmp_path / "many")
    assert one.index == many.index
    for entry in one.index:
        expected, found = one.read_episode(entry.id), many.read_episode(entry.id)
        np.testing.assert_array_equal(found.frames, expected.frames)
        np.testing.assert_array_equal(found.actions, expected.actions)
        assert found.behaviours == expected.behaviours
        assert found.parameters == expected.parameters
    assert multiprocessing.active_children() == []


def test_a_killed_worker_is_replaced_and_its_episode_played_again(tmp_path: Path) -> None:
    order = _order(episodes=6)
    killed: list[int] = []

    def kill_once(status: CollectStatus) -> None:
        if status.num_collected >= 2 and not killed:
            child = multiprocessing.active_children()[0]
            killed.append(int(child.pid or 0))
            os.kill(killed[0], signal.SIGKILL)

    status = collect(order, tmp_path / "s", num_workers=1, progress=kill_once)
    assert status.num_restarts == 1
    assert status.num_done == 12
    assert [entry.id for entry in EpisodeStore.open(tmp_path / "s").index] == _ids(order)


def test_an_episode_that_always_kills_its_worker_stops_the_collection(tmp_path: Path) -> None:
    def kill_all(status: CollectStatus) -> None:
        for child in multiprocessing.active_children():
            os.kill(int(child.pid or 0), signal.SIGKILL)

    def kill_after_the_first(status: CollectStatus) -> None:
        if status.num_collected:
            kill_all(status)

    with pytest.raises(CollectError) as caught:
        collect(_order(), tmp_path / "s", num_workers=1, progress=kill_after_the_first)
    assert f"failed {MAX_ATTEMPTS} times; the last time: its process died with exit code -9" in str(
        caught.value
    )
    assert "What is stored stays." in str(caught.value)
    assert len(EpisodeStore.open(tmp_path / "s")) >= 1
    assert multiprocessing.active_children() == []


def test_a_failing_simulator_is_tried_again_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def failing(*_: object, **__: object) -> object:
        calls.append("call")
        raise RuntimeError("the simulator lost its window")

    monkeypatch.setattr("reverie.collect.worker.play_episode", failing)
    with pytest.raises(CollectError, match="RuntimeError: the simulator lost its window"):
        collect(_order(), tmp_path / "s")
    assert len(calls) == MAX_ATTEMPTS


def test_a_task_without_expert_is_refused_before_anything_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reverie.collect.collector.has_expert", lambda task: task != "toy-fall")
    with pytest.raises(ConfigError, match="mixed needs an expert, and there is none for toy-fall"):
        collect(_order(), tmp_path / "s")
    assert not (tmp_path / "s").exists()


PARENT = """
import multiprocessing, signal, sys
from pathlib import Path
from reverie.collect.collector import collect
from reverie.collect.order import CollectOrder
from reverie.core.types import FrameSpec

def note(status):
    pids = [str(child.pid) for child in multiprocessing.active_children()]
    if status.num_collected == 3:
        print(" ".join(pids), flush=True)

if __name__ == "__main__":
    # A shell lets what it starts in the background ignore Ctrl-C, and the tests with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    order = CollectOrder(
        tasks=("toy-paint",), policies={"random": 1.0}, episodes_per_task=100_000,
        frame=FrameSpec(height_px=16, width_px=16), codec="zstd",
    )
    collect(order, sys.argv[1], num_workers=2, progress=note)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "s")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            pids = [int(word) for word in process.stdout.readline().split()]
            assert len(pids) == 2 and all(map(is_running, pids))
            process.send_signal(how)
            _, errors = process.communicate(timeout=60)
        finally:
            # A parent that did not end must not stay beside the tests that follow.
            process.kill()
    traces = errors.count("Traceback")
    assert traces == (1 if how == signal.SIGINT else 0), "only the parent speaks"
    assert ended(lambda: [pid for pid in pids if is_running(pid)], timeout_s=5)
    assert check_store(tmp_path / "s").num_episodes >= 3


def test_collecting_never_imports_torch(tmp_path: Path) -> None:
    code = (
        "import sys, reverie.collect.worker as w; from reverie.collect.collector import collect;"
        "from reverie.collect.order import CollectOrder; from reverie.core.types import FrameSpec;"
        "collect(CollectOrder(tasks=('toy-paint',), policies={'mixed': 1.0}, episodes_per_task=1,"
        f"frame=FrameSpec(height_px=8, width_px=8)), {str(tmp_path / 's')!r});"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_policies_are_written_with_weights() -> None:
    assert parse_policies(("random", "expert=3")) == {"random": 1.0, "expert": 3.0}
    with pytest.raises(ConfigError, match="name=weight, got 'random=many'"):
        parse_policies(("random=many",))
    with pytest.raises(ConfigError, match="'random' is named twice"):
        parse_policies(("random", "random=2"))
