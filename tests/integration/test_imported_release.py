"""An imported model plays on the page and is evaluated like any other."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reverie.cli.main import main
from reverie.models.convert.folder import import_folder
from reverie.models.convert.mmbench2 import TaskTable
from reverie.models.load import load_world_model, weights_hash
from reverie.recipes.adapt import run_adapt
from reverie.serve.library import load_library
from reverie.serve.stage import Stage
from reverie.train.phase import Surroundings
from tests.support.release import TINY
from tests.support.tiny_adapt import NEW_TASK, tiny_order

TASK = "pygame-pong"


@pytest.fixture(scope="module", params=["dynamics.pt", "dynamics_noagent.pt"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("imported")
    (home / "source").mkdir()
    (home / "source" / "tokenizer.pt").symlink_to(TINY / "tokenizer.pt")
    (home / "source" / "dynamics.pt").symlink_to(TINY / request.param)
    table = TaskTable(names=("toy-paint", TASK))
    import_folder(home / "source", home / "model", table, num_flow_steps=4, context_noise=0.1)
    return home / "model"


def test_it_plays_beside_the_simulator_with_all_readings(folder: Path) -> None:
    (show,) = load_library([folder], first_task=TASK).values()
    stage = Stage(show, TASK, context_frames=2, clock=lambda: 0.0)
    stage.reset(seed=3)
    width = show.spec(TASK).action.width
    for _ in range(4):
        moment = stage.advance(np.full(width, 0.5, np.float32))
        assert moment.real.shape == moment.dream.shape == (28, 42, 3)
    assert moment.is_dreaming and moment.horizon == 3
    assert set(moment.measured.raw) == {"u_r", "u_f", "u_s"}
    assert all(value > 0 for value in moment.measured.raw.values())
    assert moment.continues == 1.0
    stage.close()


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_it_is_evaluated_and_gets_limits(folder: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(folder), "--tasks", TASK, "--episodes", "2", "--fit-thresholds"]
    numbers = tmp_path / "numbers.json"
    assert main([*words, "--out", str(tmp_path / "report"), "--json", str(numbers)]) == 0
    found = json.loads(numbers.read_text())["tasks"][TASK]
    assert 0 < found["reconstruction_psnr_db"] < 60 and found["dream_fps"] > 0
    assert (tmp_path / "report" / "report.html").exists() and (folder / "readings.json").exists()
    (show,) = load_library([folder]).values()
    assert set(show.limits) == {TASK}


def test_it_learns_a_further_task(folder: Path, tmp_path: Path) -> None:
    order = tiny_order()
    # Its windows are longer than the tiny order's episodes, and its context is not shortened.
    order = replace(
        order,
        num_episodes=2,
        num_rounds=1,
        replay_tasks=("toy-paint",),
        explore=replace(order.explore, max_steps=30),
    )
    run_adapt(folder, order, Surroundings(folder=tmp_path, seed=0), num_workers=0)
    before, after = (load_world_model(tmp_path / place) for place in ("base", "round-0/model"))
    assert after.tasks == ("toy-paint", TASK, NEW_TASK)
    assert weights_hash(after.net) != weights_hash(before.net)
    assert (after.policy_head is None) == (before.policy_head is None)
    # Latents that were never scaled stay in their own units.
    assert after.latent_spec.scale == before.latent_spec.scale
