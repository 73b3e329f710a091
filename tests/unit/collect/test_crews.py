"""Workers that die or hang are replaced, wherever they live; their episodes are played again."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from reverie.cli.collect import CrewChoice, choose_crew
from reverie.collect import processes as processes_module
from reverie.collect.collector import collect
from reverie.collect.crew import Lost
from reverie.collect.order import CollectOrder, OrderItem, list_items
from reverie.collect.processes import ProcessCrew
from reverie.collect.ray_crew import RayCrew
from reverie.collect.worker import run_worker
from reverie.core.errors import ConfigError, ReverieError
from reverie.core.types import FrameSpec
from reverie.data.store import EpisodeStore
from tests.support.processes import ended, using

HANG_S, PATIENCE_S = 600.0, 40.0


def _order(*, episodes: int = 4) -> CollectOrder:
    return CollectOrder(
        tasks=("toy-paint",),
        policies={"random": 1.0},
        episodes_per_task=episodes,
        frame=FrameSpec(height_px=16, width_px=16),
        codec="zstd",
        step_limits=(8,),
    )


def hang_at_first(connection: object, store_path: Path) -> None:
    """Hang in the first process that gets here, work in those that come after."""
    mark = store_path / "hung"
    if mark.exists():
        run_worker(connection, store_path)  # type: ignore[arg-type]
        return
    mark.touch()
    time.sleep(HANG_S)


@pytest.mark.long
def test_a_process_that_hangs_is_replaced_and_its_episode_played_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes_module, "run_worker", hang_at_first)
    begun = time.monotonic()
    crew = partial(ProcessCrew, patience_s=PATIENCE_S)
    status = collect(_order(), tmp_path / "s", num_workers=1, make_crew=crew)
    assert time.monotonic() - begun < HANG_S
    assert (status.num_restarts, status.num_done) == (1, 4)


def test_what_a_hung_process_is_lost_with_says_so(tmp_path: Path) -> None:
    EpisodeStore.create(tmp_path / "s", FrameSpec(height_px=16, width_px=16))
    crew = ProcessCrew(tmp_path / "s", 1, patience_s=0.0)
    try:
        crew.give(_items()[0])
        (lost,) = crew.wait()
        assert isinstance(lost, Lost) and lost.item == _items()[0]
        assert "did not end within 0 s, so its process was ended; its simulator" in lost.reason
        assert (crew.num_idle, crew.num_busy) == (1, 0)
    finally:
        crew.close()


def _items() -> list[OrderItem]:
    return list_items(_order())


def test_the_address_of_a_cluster_is_refused_without_ray() -> None:
    with pytest.raises(ConfigError, match="--ray-address auto is for --backend ray, got --backend"):
        choose_crew(CrewChoice(ray_address="auto"))
    assert choose_crew(CrewChoice()) is ProcessCrew


ON_RAY = """
import os, signal, sys
import ray
from reverie.collect.collector import collect
from reverie.collect.order import CollectOrder
from reverie.collect.ray_crew import RayCrew
from reverie.core.types import FrameSpec

crews, killed = [], []

def make(path, num_workers):
    crews.append(RayCrew(path, num_workers))
    print(crews[0].scratch, flush=True)
    return crews[0]

def kill_once(status):
    if status.num_collected == 3 and not killed:
        actor = crews[0].actors[-1]
        killed.append(ray.get(actor.process_id.remote()))
        os.kill(killed[0], signal.SIGKILL)

order = CollectOrder(
    tasks=("toy-paint",), policies={"random": 1.0}, episodes_per_task=int(sys.argv[2]),
    frame=FrameSpec(height_px=16, width_px=16), codec="zstd", step_limits=(8,),
)
print(collect(order, sys.argv[1], num_workers=2, progress=kill_once, make_crew=make))
"""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A collection on Ray with two actors, one of which is killed after three episodes."""
    pytest.importorskip("ray")
    script = tmp_path / "on_ray.py"
    script.write_text(ON_RAY)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "s"), "12"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.long
def test_actors_of_ray_complete_an_order_one_of_them_killed_and_leave_nothing(
    tmp_path: Path, program: "subprocess.Popen[str]"
) -> None:
    out, errors = program.communicate(timeout=200)
    scratch, *_, status = out.splitlines()
    assert "num_collected=12" in status and "num_restarts=1" in status, errors
    found = [entry.id for entry in EpisodeStore.open(tmp_path / "s").index]
    assert found == sorted(item.id for item in list_items(_order(episodes=12)))
    assert ended(lambda: using(scratch), timeout_s=10)
    assert not Path(scratch).exists()


@pytest.mark.long
def test_ray_ends_with_a_program_that_is_killed(program: "subprocess.Popen[str]") -> None:
    assert program.stdout is not None
    scratch = program.stdout.readline().strip()
    assert using(scratch)
    program.send_signal(signal.SIGKILL)
    program.wait()
    assert ended(lambda: using(scratch), timeout_s=60)
    assert not Path(scratch).exists()


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    code = (
        "from pathlib import Path; from reverie.collect.ray_crew import RayCrew;"
        f"RayCrew(Path({str(tmp_path)!r}), 1, address='auto')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "There is no Ray cluster at 'auto'. Start one with 'ray start --head'" in done.stderr


def test_a_ray_that_does_not_start_says_what_to_do_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    scratch: list[str] = []

    def fail(*, address: str, _temp_dir: str, **_: object) -> None:
        scratch.append(_temp_dir)
        raise Exception("The current node timed out during startup.")  # noqa: TRY002

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(ReverieError, match="Ray did not start. Try again .* timed out during"):
        RayCrew(tmp_path, 1)
    assert ended(lambda: using(scratch[0]), timeout_s=10)
    assert not Path(scratch[0]).exists()
