"""Fifty times kill -9 at a random moment: what is listed is whole, and the order is completed."""

import json
import subprocess
import sys
from pathlib import Path

from reverie.collect.collector import collect
from reverie.collect.order import CollectOrder, list_items
from reverie.core.config import to_dict
from reverie.core.types import FrameSpec
from reverie.data.check import check_store, repair_store
from reverie.data.store import EpisodeStore

NUM_KILLS = 50

DRIVER = """
import json, os, random, signal, sys, time
from pathlib import Path
from reverie.collect.collector import collect
from reverie.collect.order import CollectOrder
from reverie.core.config import from_dict
from reverie.data.check import check_store
from reverie.envs.registry import make_env

order = from_dict(CollectOrder, json.loads(sys.argv[2]))
store, num_kills = sys.argv[1], int(sys.argv[3])
make_env(order.tasks[0]).close()  # imports all that a child needs
moments = random.Random(0)
for _ in range(num_kills):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        collect(order, store, progress=lambda s: os.write(writing, b"%d " % s.num_done))
        os._exit(0)
    os.close(writing)
    os.read(reading, 64)  # it has opened the store and begun
    time.sleep(moments.uniform(0.0, 0.04))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    told = [0]
    while piece := os.read(reading, 65536):
        told += [int(word) for word in piece.split()]
    os.close(reading)
    report = check_store(Path(store))
    print(json.dumps([told[-1], report.num_episodes, list(report.problems)]), flush=True)
"""


def test_fifty_kills_at_random_moments_lose_nothing_that_was_told(tmp_path: Path) -> None:
    order = CollectOrder(
        tasks=("toy-paint",),
        policies={"random": 1.0},
        episodes_per_task=400,
        frame=FrameSpec(height_px=16, width_px=16),
        codec="zstd",
        step_limits=(8,),
    )
    path = tmp_path / "s"
    EpisodeStore.create(path, order.frame, order.codec)
    words = [str(path), json.dumps(to_dict(order)), str(NUM_KILLS)]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rounds) == NUM_KILLS
    before = 0
    for told, listed, problems in rounds:
        assert problems == [], "what is listed is whole"
        assert listed >= told, "an episode that was reported done is there"
        assert listed <= max(told, before) + 1, "nothing else is there but the one just finished"
        before = listed
    assert 0 < before < 400, "the kills fell inside the order"

    status = collect(order, path)
    assert status.num_found == before
    store = EpisodeStore.open(path)
    assert [entry.id for entry in store.index] == sorted(item.id for item in list_items(order))
    report = check_store(path)
    assert report.is_good and report.num_episodes == 400
    repair_store(path, report, min_age_s=0.0)
    assert check_store(path).leftovers == ()
    assert len(EpisodeStore.open(path)) == 400
