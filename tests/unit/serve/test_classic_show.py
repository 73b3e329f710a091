"""The page plays dreams of the classic family like any other."""

from pathlib import Path

import numpy as np

from reverie.models.classic.disk import save_classic_world
from reverie.serve.library import load_show
from reverie.serve.stage import Stage
from tests.support.classic import make_classic_world


def test_a_classic_dream_moves_and_is_read_beside_its_simulator(tmp_path: Path) -> None:
    world = make_classic_world(tasks=("toy-fall",), action_width=2)
    save_classic_world(tmp_path / "small", world)
    show = load_show(tmp_path / "small")
    assert show.notice is not None and "no colour" in show.notice
    ticks = iter(range(10_000))
    stage = Stage(show, "toy-fall", context_frames=3, clock=lambda: float(next(ticks)))
    stage.reset(seed=1)
    seen = [stage.advance(np.array([0.5, -0.5], np.float32)) for _ in range(6)]
    assert not seen[0].is_dreaming and seen[-1].is_dreaming and seen[-1].horizon == 4
    assert not np.array_equal(seen[-1].dream, seen[-2].dream)
    assert seen[-1].dream.shape == (16, 16, 3)
    assert all(value > 0 for value in seen[-1].measured.raw.values())
    stage.close()
