"""Weights of tasks and episodes, with the worked examples; maps of where a model has been."""

from pathlib import Path

import numpy as np
import pytest

from reverie.core.errors import ConfigError
from reverie.data.sampling import read_weights
from reverie.data.shards import EpisodeEntry
from reverie.data.windows import list_windows
from reverie.hallucination.coverage import (
    coverage_map,
    new_cell_share,
    novelty_weights,
    principal_axes,
    targeted_weights,
    visited_cells,
    write_weights,
)
from reverie.hallucination.novelty import density_weights

DIGITS = {"abs": 5e-7, "rel": 0}


def test_targeted_tasks_get_their_share_together() -> None:
    tasks = [f"task-{number}" for number in range(210)]
    found = targeted_weights(tasks, tasks[:20])
    assert found["task-0"] == pytest.approx(0.025)
    assert found["task-100"] == pytest.approx(0.002632, **DIGITS)
    assert found["task-0"] / found["task-100"] == pytest.approx(9.5)
    assert sum(found.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("targeted", [(), ("a", "b")])
def test_with_one_side_empty_all_tasks_are_alike(targeted: tuple[str, ...]) -> None:
    assert targeted_weights(("a", "b"), targeted) == {"a": 0.5, "b": 0.5}


def test_wrong_targets_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'pong'"):
        targeted_weights(("pong",), ("pomg",))
    with pytest.raises(ConfigError, match="alpha is the share"):
        targeted_weights(("pong",), (), 1.0)


def test_rare_episodes_are_drawn_more_often_but_not_without_limit() -> None:
    distances = {"x": 1.0, "y": 1.0, "z": 4.0, "far": 1e6, "other": 3.0}
    found = novelty_weights({"a": ("x", "y", "z", "far"), "b": ("other",)}, distances)
    assert sum(found.values()) == pytest.approx(1.0)
    assert found["other"] == pytest.approx(0.5), "tasks keep equal shares"
    assert found["x"] == found["y"] < found["z"] < found["far"]
    assert density_weights(np.array([1.0, 1.0, 4.0])).tolist() == pytest.approx([1, 1, 2])
    assert density_weights(np.array([1.0, 1.0, 1e9])).max() == 10.0


def test_a_weights_file_is_what_the_sampler_reads(tmp_path: Path) -> None:
    entries = [
        EpisodeEntry(
            id=f"e-{task}",
            task=task,
            source="random",
            seed=0,
            num_steps=10,
            action_width=1,
            terminated=False,
            score=0.0,
        )
        for task in ("a", "b")
    ]
    windows = list_windows(entries, 5)
    write_weights(tmp_path / "w.json", "task", targeted_weights(("a", "b"), ("a",), 0.75))
    kind, weights = read_weights(tmp_path / "w.json", windows)
    assert (kind, weights) == ("task", {"a": 0.75, "b": 0.25})


def test_a_coverage_map_sees_that_readings_are_high_where_nobody_was() -> None:
    rng = np.random.default_rng(0)
    known = rng.normal(0.0, 1.0, (4000, 2))
    tested = rng.uniform(-3, 3, (6000, 2))
    distance = np.linalg.norm(tested, axis=1)
    found = coverage_map(known, tested, distance, distance**2, num_cells=16)
    visits, reading = found.pairs
    assert len(visits) > 100
    assert np.corrcoef(visits, reading)[0, 1] < -0.8
    assert found.visits.sum() == 4000 and found.reading.shape == (16, 16)


def test_principal_axes_span_what_varies() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(500, 5)) * np.array([0.01, 5.0, 0.01, 2.0, 0.01])
    axes = principal_axes(vectors)
    assert abs(axes[1, 0]) > 0.99 and abs(axes[3, 1]) > 0.99


def test_cells_that_were_visited_before_are_not_new() -> None:
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(4000, 5)) * [5, 3, 0.1, 0.1, 0.1]
    assert new_cell_share(seen, seen[:400]) == 0.0
    assert new_cell_share(seen[:50], seen) > 1.0


def test_a_wider_walk_visits_more_cells_and_all_groups_share_their_axes() -> None:
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(500, 4)) * [5, 3, 0.1, 0.1]
    still = np.repeat(wide[:1], 500, axis=0)
    around, alone, again = visited_cells([wide, still, wide[::-1]])
    assert around == again and alone < around and len(alone) == 1
    assert visited_cells([still, still]) == [{(0, 0)}, {(0, 0)}], "nothing varies"
