"""The benches end to end: both families, the report, what can and cannot be an unseen task."""

import json
from pathlib import Path

import numpy as np
import pytest

from reverie.cli.main import EXIT_USER_ERROR, main
from reverie.core.errors import ConfigError, UnknownNameError
from reverie.evaluate.branches import BranchConfig
from reverie.evaluate.live import LiveConfig
from reverie.evaluate.looks import CHANGES, LooksConfig
from reverie.models.api import WorldModel
from reverie.models.load import save_world_model
from reverie.recipes.benches import (
    BenchOrder,
    bench_branches,
    bench_looks,
    run_bench,
    sister_tasks,
)
from tests.support.classic import make_classic_world
from tests.support.small_world import make_small_world


def order(folder: Path, **changes: object) -> BenchOrder:
    given = {
        "model": folder / "model",
        "out": folder / "out",
        "tasks": ("toy-paint",),
        "behaviour": "random",
        "live": LiveConfig(num_episodes=2, max_steps=30, series="benches"),
        "looks": LooksConfig(clips_per_episode=1),
        "branches": BranchConfig(horizon=5, places_per_episode=1),
    }
    return BenchOrder(**(given | changes))  # pyright: ignore[reportArgumentType]


WORLDS = {
    "shortcut": lambda: make_small_world(tasks=("toy-paint",)),
    "classic": lambda: make_classic_world(tasks=("toy-paint",), terminating=()),
}


@pytest.fixture(params=list(WORLDS.values()), ids=list(WORLDS))
def world(request: pytest.FixtureRequest) -> WorldModel:
    return request.param()


def test_every_family_is_shown_every_look(world: WorldModel, tmp_path: Path) -> None:
    result = bench_looks(world, order(tmp_path))
    rows = result.numbers["looks"]
    assert set(rows) == {"seen", "unseen tasks", *CHANGES}
    assert set(result.numbers["tasks"]) == {"toy-paint", "toy-fall"}
    for look, row in rows.items():
        assert 0 < row["psnr_db"] < 60 and row["u_r"] > 0, look
        assert row["num_frames"] == 2 * 8
    assert len(result.pictures) == len(rows)


def test_every_family_dreams_every_branch(world: WorldModel, tmp_path: Path) -> None:
    row = bench_branches(world, order(tmp_path)).numbers["tasks"]["toy-paint"]
    assert row["num_places"] == 2 and row["ratio"] > 0 and row["real_distance"] > 0
    assert -2 < row["cosine"] < 2 and len(row["ratio_by_step"]) == 5
    again = bench_branches(world, order(tmp_path)).numbers["tasks"]["toy-paint"]
    assert row == again


def test_a_bench_leaves_numbers_report_and_pictures(tmp_path: Path) -> None:
    save_world_model(tmp_path / "model", make_small_world(tasks=("toy-paint",)))
    seen: list[str] = []
    for name in ("looks", "branches"):
        given = order(tmp_path, out=tmp_path / name)
        numbers = run_bench(name, given, say=seen.append)
        stored = json.loads((tmp_path / name / f"{name}.json").read_text())
        assert stored == json.loads(json.dumps(numbers))
        page = (tmp_path / name / "report.html").read_text()
        assert "toy-paint" in page and "http://" not in page and "https://" not in page
        assert page.count("data:image/png") >= 3
    assert "looks: toy-fall, not trained on" in seen and "branches: toy-paint" in seen
    shown = {path.name for path in (tmp_path / "looks" / "pictures").iterdir()}
    assert {"look-seen.png", "look-unseen-tasks.png", "look-mirrored.png"} <= shown
    shown = {path.name for path in (tmp_path / "branches" / "pictures").iterdir()}
    assert shown == {"branches-toy-paint-best.png", "branches-toy-paint-worst.png"}


def test_the_benches_join_the_report_of_an_evaluation(tmp_path: Path) -> None:
    save_world_model(tmp_path / "model", make_small_world())
    words = ["evaluate", str(tmp_path / "model"), "--tasks", "toy-paint", "--episodes", "1"]
    words += ["--behaviour", "random", "--benches", "looks", "branches"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    numbers = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert numbers["branches"]["tasks"].keys() == {"toy-paint"}
    assert "unseen tasks" not in numbers["looks"]["looks"], "the model knows the whole domain"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Unfamiliar looks" in page and "Branches from one moment" in page
    assert (tmp_path / "out" / "pictures" / "look-hue.png").exists()


def test_the_commands_print_what_the_benches_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_world_model(tmp_path / "model", make_small_world(tasks=("toy-paint",)))
    base = [str(tmp_path / "model"), "--episodes", "2", "--max-steps", "30", "--out"]
    numbers = tmp_path / "numbers.json"
    assert main(["evaluate", "looks", *base, str(tmp_path / "a"), "--json", str(numbers)]) == 0
    assert "mirrored" in (shown := capsys.readouterr().out) and "u_r against the PSNR" in shown
    assert json.loads(numbers.read_text())["looks"]["seen"]["psnr_db"] > 0
    words = [*base, str(tmp_path / "b"), "--horizon", "4", "--places", "1"]
    assert main(["evaluate", "branches", *words]) == 0
    assert "toy-paint" in (shown := capsys.readouterr().out) and "expl.: share" in shown
    words = ["evaluate", "looks", *base, str(tmp_path / "c"), "--unseen", "toy-paint"]
    assert main(words) == EXIT_USER_ERROR
    assert "was trained on 'toy-paint'; it cannot be an unseen" in capsys.readouterr().err


def test_sisters_are_the_other_tasks_of_the_same_simulator() -> None:
    known = ("pygame-pong", "pygame-point-maze-var1", "a-task-of-another-version")
    found, problems = sister_tasks(known, behaviour="noise")
    assert problems == [] and len(found) == 16 and len(set(found)) == 16
    assert all(name.startswith("pygame-") and name not in known for name in found)
    assert len(sister_tasks(known, behaviour="noise", at_most=3)[0]) == 3
    assert sister_tasks(("toy-paint", "toy-fall"), behaviour="random") == ((), [])


def test_tasks_that_cannot_be_shown_are_refused(tmp_path: Path) -> None:
    world = make_small_world(tasks=("toy-paint",))
    with pytest.raises(UnknownNameError, match="Did you mean 'toy-fall'"):
        bench_looks(world, order(tmp_path, unseen=("toy-fal",)))
    with pytest.raises(ConfigError, match="cannot be an unseen task"):
        bench_looks(world, order(tmp_path, unseen=("toy-paint",)))
    with pytest.raises(ConfigError, match="Did you mean 'toy-paint'"):
        bench_branches(world, order(tmp_path, tasks=("toy-pain",)))


def test_a_named_unseen_task_is_the_only_one(tmp_path: Path) -> None:
    world = make_small_world(tasks=("toy-paint",))
    named = bench_looks(world, order(tmp_path, unseen=("toy-fall",)))
    found = bench_looks(world, order(tmp_path))
    assert named.numbers["looks"] == found.numbers["looks"]
    assert np.isfinite(named.numbers["looks"]["unseen tasks"]["change_db"])
