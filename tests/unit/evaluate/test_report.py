"""Live evaluation of a small real world: numbers, limits, report, pictures."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from reverie.collect.policies import make_policy
from reverie.core.errors import ConfigError, DataError
from reverie.core.types import Episode, FrameSpec
from reverie.data.store import EpisodeStore
from reverie.evaluate.coverage_report import map_evaluations
from reverie.evaluate.evaluation import EvaluationConfig, TaskEvaluation, list_misses, task_numbers
from reverie.evaluate.live import LiveConfig, collect_heldout, measure_control
from reverie.evaluate.plots import roc_curve, tenths
from reverie.evaluate.rollout import RolloutConfig
from reverie.hallucination.thresholds import load_thresholds, reading_setup
from reverie.models.api import WorldModel
from reverie.models.families import load_any_world
from reverie.models.load import save_world_model
from reverie.recipes.evaluation import (
    EvaluationOrder,
    evaluate_live,
    evaluate_live_parallel,
    evaluate_store,
    fit_thresholds,
    visited_latents,
    write_results,
)
from tests.support.small_world import SIDE_PX, make_small_world

FRAME = FrameSpec(height_px=SIDE_PX, width_px=SIDE_PX)
ORDER = EvaluationOrder(
    tasks=("toy-paint",),
    behaviour="random",
    live=LiveConfig(num_episodes=2, max_steps=30, num_probes=4),
    evaluation=EvaluationConfig(clips_per_episode=1, rollout=RolloutConfig(horizon=8)),
)


@pytest.fixture(scope="module")
def measured() -> list[TaskEvaluation]:
    return evaluate_live(make_small_world(), ORDER)


def test_every_promised_number_is_there(measured: list[TaskEvaluation]) -> None:
    numbers = task_numbers(measured[0])
    for name in (
        "reconstruction_psnr_db",
        "rollout_gain_db",
        "action_shuffle_ratio",
        "action_shuffle_ratio_4_steps",
        "sequence_shuffle_ratio_one_substep",
        "dream_fps",
    ):
        assert np.isfinite(numbers[name]), name
    assert numbers["num_clips"] == 2 and numbers["num_static_clips"] == 0
    assert numbers["num_undefined_readings"] == {"u_r": 0, "u_f": 0, "u_s": 0, "m": 0}
    low, high = numbers["rollout_gain_interval_db"]
    assert low <= numbers["rollout_gain_db"] <= high
    json.dumps(numbers, allow_nan=False)


def test_evaluating_twice_gives_the_same_numbers(measured: list[TaskEvaluation]) -> None:
    again = evaluate_live(make_small_world(), ORDER)
    first, second = (task_numbers(tasks[0]) for tasks in (measured, again))
    assert first.pop("dream_fps") > 0 and second.pop("dream_fps") > 0
    assert first == second


def test_an_untrained_world_misses_every_bar_and_is_told_so(
    measured: list[TaskEvaluation],
) -> None:
    text = " ".join(list_misses(measured[0]))
    assert "reconstruction" in text and "rollout gain" in text and "action-shuffle" in text


def test_results_are_whole_and_stand_alone(measured: list[TaskEvaluation], tmp_path: Path) -> None:
    numbers = write_results(measured, tmp_path, title="A <test>", facts={"model": "small"})
    assert json.loads((tmp_path / "evaluation.json").read_text()) == json.loads(json.dumps(numbers))
    page = (tmp_path / "report.html").read_text()
    assert "A &lt;test&gt;" in page and "toy-paint" in page and "task identity" in page
    assert page.count("data:image/png") == 6 and page.count("data:image/gif") == 2
    assert numbers["coverage_correlation"].keys() == {"toy-paint"}
    assert "http://" not in page and "https://" not in page
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "toy-paint-best.gif",
        "toy-paint-best.png",
        "toy-paint-worst.gif",
        "toy-paint-worst.png",
    ]


def test_fitted_limits_are_those_the_model_loads_with(
    measured: list[TaskEvaluation], tmp_path: Path
) -> None:
    world = make_small_world()
    save_world_model(tmp_path, world)
    fitted = fit_thresholds(tmp_path, world, measured)
    assert load_thresholds(tmp_path, reading_setup(tmp_path, world)) == fitted
    limit = fitted.limit("toy-paint", "u_r")
    assert limit is not None and 0 < limit.yellow <= limit.red


def test_stored_episodes_give_what_live_ones_give(
    measured: list[TaskEvaluation], tmp_path: Path
) -> None:
    episodes = collect_heldout(
        "toy-paint",
        frame_spec=FRAME,
        make_policy=lambda _: make_policy("random"),
        config=ORDER.live,
    )
    store = EpisodeStore.create(tmp_path / "store", FRAME, "zstd")
    with store.writer() as writer:
        for index, episode in enumerate(episodes):
            writer.append(episode, id=f"held-{index}")
    store.refresh()
    world = make_small_world()
    stored, live = (
        task_numbers(task) for task in (evaluate_store(world, store, ORDER)[0], measured[0])
    )
    for name in ("reconstruction_psnr_db", "rollout_gain_db", "action_shuffle_ratio"):
        assert stored[name] == live[name]
    with pytest.raises(DataError, match="has no episodes of 'toy-fall'"):
        evaluate_store(world, store, EvaluationOrder(tasks=("toy-fall",)))


def test_maps_count_the_frames_of_the_store_that_is_called_visited(
    measured: list[TaskEvaluation], tmp_path: Path
) -> None:
    world, episode = make_small_world(), make_env_episode()
    store = EpisodeStore.create(tmp_path / "store", FRAME, "zstd")
    with store.writer() as writer:
        writer.append(episode, id="visited")
    store.refresh()
    visited = visited_latents(world, store, ["toy-paint", "toy-fall"])
    assert set(visited) == {"toy-paint"} and len(visited["toy-paint"]) == len(episode.frames)
    own = map_evaluations(measured)["toy-paint"]
    told = map_evaluations(measured, visited)["toy-paint"]
    assert told.visits.sum() == len(episode.frames)
    assert own.visits.sum() == measured[0].clips.num_clips * measured[0].clips.num_frames
    # The cells of both are as many as the dreamed frames fill; readings lie where dreams were.
    assert own.visits.shape == told.visits.shape == (2, 2)
    large = FrameSpec(height_px=2 * SIDE_PX, width_px=2 * SIDE_PX)
    with pytest.raises(ConfigError, match="Name a store of that size"):
        visited_latents(world, EpisodeStore.create(tmp_path / "large", large, "zstd"), [])


def make_env_episode() -> Episode:
    return collect_heldout(
        "toy-paint",
        frame_spec=FRAME,
        make_policy=lambda _: make_policy("random"),
        config=LiveConfig(num_episodes=1, max_steps=20, series="visited"),
    )[0]


def test_a_task_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'toy-paint'"):
        evaluate_live(make_small_world(), EvaluationOrder(tasks=("toy-pain",)))


def test_an_action_painted_into_the_next_frame_is_seen_there() -> None:
    episodes = collect_heldout(
        "toy-paint",
        frame_spec=FRAME,
        make_policy=lambda _: make_policy("random"),
        config=ORDER.live,
    )
    effect = measure_control("toy-paint", episodes, frame_spec=FRAME, config=ORDER.live)
    assert effect is not None and effect.shows_next == 1.0 and effect.num_probes == 4
    # Two of three panels, a quarter of the frame high, show the action.
    assert 0.1 < effect.next_pixels < 0.35 and effect.next_mse > 1e-3


def test_a_cart_that_moves_with_its_old_velocity_hides_the_last_action() -> None:
    task, config = "pygame-cartpole-swingup", LiveConfig(num_episodes=1, max_steps=20, num_probes=3)
    frame = FrameSpec(height_px=64, width_px=64)
    episodes = collect_heldout(
        task, frame_spec=frame, make_policy=lambda _: make_policy("random"), config=config
    )
    effect = measure_control(task, episodes, frame_spec=frame, config=config)
    assert effect is not None
    assert effect.next_mse == 0.0 and effect.shows_next == 0.0
    assert effect.later_mse > 0.0


def test_behaviour_that_never_varies_has_no_control_effect() -> None:
    episodes = collect_heldout(
        "toy-paint",
        frame_spec=FRAME,
        make_policy=lambda _: make_policy("noop"),
        config=ORDER.live,
    )
    assert measure_control("toy-paint", episodes, frame_spec=FRAME, config=ORDER.live) is None


def test_episodes_that_do_not_repeat_are_refused() -> None:
    first, second = collect_heldout(
        "toy-paint",
        frame_spec=FRAME,
        make_policy=lambda _: make_policy("random"),
        config=ORDER.live,
    )
    object.__setattr__(first, "seed", second.seed)
    with pytest.raises(DataError, match="does not repeat: frame 0 differs"):
        measure_control("toy-paint", [first], frame_spec=FRAME, config=ORDER.live)


def test_roc_curve_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    readings, labels = rng.integers(0, 9, 60).astype(float), rng.integers(0, 2, 60)
    hits, alarms = roc_curve(readings, labels)
    expected = metrics.roc_curve(labels, readings, drop_intermediate=False)
    assert alarms.tolist() == pytest.approx(expected[0].tolist())
    assert hits.tolist() == pytest.approx(expected[1].tolist())


def test_tenths_sort_by_the_reading() -> None:
    readings = np.arange(100.0)
    assert tenths(readings[::-1], np.arange(100) < 50).tolist() == [0.0] * 5 + [1.0] * 5
    assert tenths(np.ones(100), np.arange(100) < 50).tolist() == [0.5] * 10
    assert stats.spearmanr(tenths(readings, readings), np.arange(10)).statistic == pytest.approx(1)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_tasks_are_measured_where_the_order_says(
    num_workers: int,
    measured: list[TaskEvaluation],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_world_model(tmp_path, make_small_world())
    devices, tasks = list[str](), list[str]()

    def load(folder: Path, *, device: str = "cpu") -> WorldModel:
        devices.append(device)
        return load_any_world(folder)

    def measure(world: WorldModel, task: str, order: EvaluationOrder) -> TaskEvaluation:
        tasks.append(task)
        return measured[0]

    @contextmanager
    def threads(num: int, **_: object) -> Iterator[ThreadPoolExecutor]:
        with ThreadPoolExecutor(num) as pool:
            yield pool

    monkeypatch.setattr("reverie.recipes.evaluation.load_any_world", load)
    monkeypatch.setattr("reverie.recipes.evaluation._play_and_measure", measure)
    monkeypatch.setattr("reverie.recipes.evaluation.ProcessPoolExecutor", threads)
    order = replace(ORDER, tasks=("toy-paint", "toy-fall"))
    evaluate_live_parallel(tmp_path, order, num_workers=num_workers, device="cuda:0")
    assert sorted(tasks) == ["toy-fall", "toy-paint"]
    # First it is asked for its tasks, which needs no room on the device.
    assert devices[0] == "cpu" and set(devices[1:]) == {"cuda:0"}


@pytest.mark.long
def test_two_processes_measure_what_one_does(tmp_path: Path) -> None:
    save_world_model(tmp_path, make_small_world())
    order = EvaluationOrder(
        tasks=("toy-paint", "toy-fall"),
        behaviour="random",
        live=ORDER.live,
        evaluation=ORDER.evaluation,
    )
    both = [
        [task_numbers(task) for task in evaluate_live_parallel(tmp_path, order, num_workers=count)]
        for count in (0, 2)
    ]
    for numbers in (*both[0], *both[1]):
        numbers.pop("dream_fps")
    assert both[0] == both[1]
