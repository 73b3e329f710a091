"""The page plays dreams of the classic family like any other."""

from pathlib import Path

import numpy as np

from reverie.models.classic.disk import save_classic_world
from reverie.models.load import pretrained_folder
from reverie.recipes.evaluation import EvaluationRun, run_evaluation
from reverie.serve.library import load_show
from reverie.serve.stage import Stage
from tests.support.classic import make_classic_world


def test_a_classic_dream_moves_and_is_read_beside_its_simulator(tmp_path: Path) -> None:
    world = make_classic_world(tasks=("toy-fall",), action_width=2)
    save_classic_world(tmp_path / "small", world)
    show = load_show(tmp_path / "small")
    assert show.notice is not None and "has no limits for readings" in show.notice
    ticks = iter(range(10_000))
    stage = Stage(show, "toy-fall", context_frames=3, clock=lambda: float(next(ticks)))
    stage.reset(seed=1)
    seen = [stage.advance(np.array([0.5, -0.5], np.float32)) for _ in range(6)]
    assert not seen[0].is_dreaming and seen[-1].is_dreaming and seen[-1].horizon == 4
    assert not np.array_equal(seen[-1].dream, seen[-2].dream)
    assert seen[-1].dream.shape == (16, 16, 3)
    assert all(value > 0 for value in seen[-1].measured.raw.values())
    stage.close()


def test_limits_are_fitted_for_classic_dreams_too_and_colour_their_readings(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "small"
    save_classic_world(folder, make_classic_world(tasks=("toy-paint",), action_width=2))
    run = EvaluationRun(
        model=folder,
        out=tmp_path / "report",
        num_episodes=2,
        behaviour="random",
        fits_thresholds=True,
    )
    numbers = run_evaluation(run)["tasks"]["toy-paint"]
    assert numbers["num_clips"] > 0 and numbers["action_shuffle_ratio_one_substep"] is None
    show = load_show(folder)
    assert show.notice is None
    assert {"u_r", "u_f", "u_s"} <= show.limits["toy-paint"].keys()


def test_the_dreams_that_ship_have_limits() -> None:
    for name, task in (("cartpole", "cartpole-v1-close"), ("takecover", "takecover-close")):
        show = load_show(pretrained_folder(name))
        assert show.notice is None
        assert {"u_r", "u_f", "u_s"} <= show.limits[task].keys()
        assert (show.calibration is not None) == (name == "takecover")
