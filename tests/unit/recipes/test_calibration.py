"""Orders of a calibration: what is dreamed for it, kept, and dreamed again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reverie.cli.calibrate import Material
from reverie.core.errors import ConfigError
from reverie.models.api import WorldModel
from reverie.models.families import load_any_world
from reverie.models.load import save_world_model
from reverie.recipes.calibration import (
    TEST_SERIES,
    DreamOrder,
    calibration_run,
    watch_tasks,
)
from tests.support.small_world import make_small_world

TASK = "toy-paint"
ORDER = DreamOrder(
    behaviours=("random",),
    episodes_per_behaviour=1,
    max_steps=30,
    clips_per_episode=2,
    horizon=9,
    num_twins=2,
)


def test_dreams_are_kept_and_other_twins_are_dreamed_anew(tmp_path: Path) -> None:
    model, cache = tmp_path / "model", tmp_path / "dreams"
    save_world_model(model, make_small_world(tasks=(TASK,)))
    first = watch_tasks(model, ORDER, cache, num_workers=1)
    assert first.num_rows == 2 and first.num_twins == 2
    (path,) = cache.iterdir()
    written = path.stat().st_mtime_ns
    again = watch_tasks(model, ORDER, cache, num_workers=1)
    assert path.stat().st_mtime_ns == written and np.array_equal(again.dream, first.dream)
    more = watch_tasks(model, replace(ORDER, num_twins=3), cache, num_workers=1)
    assert more.num_twins == 3 and len(list(cache.iterdir())) == 2
    # The dream itself is the same, whoever dreams beside it.
    assert np.array_equal(more.dream, first.dream)
    assert not np.array_equal(more.signals["twin_mse"], first.signals["twin_mse"])


def test_dreams_are_watched_where_the_run_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, devices = tmp_path / "model", list[str]()
    save_world_model(model, make_small_world(tasks=(TASK,)))

    def load(folder: Path, *, device: str = "cpu") -> WorldModel:
        devices.append(device)
        return load_any_world(folder)

    monkeypatch.setattr("reverie.recipes.calibration.load_any_world", load)
    dreams = watch_tasks(model, ORDER, tmp_path / "dreams", num_workers=1, device="cuda:0")
    # First it is asked for its tasks, which needs no room on the device.
    assert devices == ["cpu", "cuda:0"]
    # The device is not part of the order: a run goes on with the dreams it has.
    again = watch_tasks(model, ORDER, tmp_path / "dreams", num_workers=1)
    assert devices == ["cpu", "cuda:0", "cpu"] and np.array_equal(again.dream, dreams.dream)


def test_what_is_judged_differs_in_its_seeds_alone(tmp_path: Path) -> None:
    run = calibration_run(tmp_path, tmp_path, ORDER, test_episodes=5)
    assert run.fit == ORDER
    assert run.test == replace(ORDER, series=TEST_SERIES, episodes_per_behaviour=5)
    with pytest.raises(ConfigError, match="at least 2 are needed, got 1"):
        replace(ORDER, num_twins=1)


def test_the_command_line_orders_what_the_recipe_does() -> None:
    typed, order = Material(), DreamOrder()
    assert typed.behaviours == order.behaviours
    assert (typed.episodes, typed.twins) == (order.episodes_per_behaviour, order.num_twins)
