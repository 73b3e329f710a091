"""Bar 5 of the simulators: mixed tasks, workers killed at random, every ordered episode once."""

import multiprocessing
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from reverie.collect.collector import CollectStatus, collect
from reverie.collect.order import CollectOrder, list_items
from reverie.core.types import FrameSpec
from reverie.data.check import check_store
from reverie.data.store import EpisodeStore

TASKS = (
    *("walker-walk", "cup-catch", "cup-spin", "jumper-jump"),
    *("mujoco-hopper", "mujoco-reacher", "mw-push", "mw-door-open"),
    *("og-point-maze", "og-ant-arena", "lunarlander-hover", "bipedal-walker-hills"),
    *("atari-pong", "atari-seaquest", "CartPole-v1", "CarRacing-v3"),
    *("VizdoomTakeCover-v1", "procgen-coinrun", "pygame-pong", "pygame-foraging"),
)
EPISODES_PER_TASK = 10
KILL_EVERY = 12
"""Episodes between two deaths; an episode may be tried three times."""


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_200_episodes_of_20_mixed_tasks_survive_workers_killed_at_random(tmp_path: Path) -> None:
    order = CollectOrder(
        tasks=TASKS,
        policies={"random": 1.0},
        episodes_per_task=EPISODES_PER_TASK,
        frame=FrameSpec(height_px=32, width_px=32),
        codec="zstd",
        step_limits=(5, 8),
    )
    chance = random.Random(0)
    killed: list[int] = []

    def kill_sometimes(status: CollectStatus) -> None:
        # Told after a death too: no second one before more episodes are in.
        if status.num_collected < KILL_EVERY * (len(killed) + 1):
            return
        victim = chance.choice(multiprocessing.active_children()).pid
        assert victim is not None
        killed.append(victim)
        os.kill(victim, signal.SIGKILL)

    status = collect(order, tmp_path / "store", num_workers=2, progress=kill_sometimes)
    assert len(killed) > 5
    assert status.num_done == len(TASKS) * EPISODES_PER_TASK
    store = EpisodeStore.open(tmp_path / "store")
    counts = Counter(entry.id for entry in store.index)
    assert counts == Counter(item.id for item in list_items(order))
    assert not check_store(tmp_path / "store").problems
    assert not multiprocessing.active_children()
