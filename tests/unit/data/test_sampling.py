"""Samplers: functions of seed and step, fair as they claim, the same on any number of ranks."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from reverie.core.errors import CheckpointError, ConfigError, DataError
from reverie.data.sampling import SamplerConfig, WindowSampler, episode_chances
from reverie.data.shards import EpisodeEntry
from reverie.data.windows import WindowList, WindowRef, list_windows


def _entry(name: str, task: str, num_steps: int) -> EpisodeEntry:
    return EpisodeEntry(
        id=name,
        task=task,
        source="random",
        seed=0,
        num_steps=num_steps,
        action_width=1,
        terminated=False,
        score=0.0,
    )


def _windows() -> WindowList:
    entries = [
        _entry("a0", "long", 99),
        _entry("a1", "long", 49),
        _entry("b0", "short", 9),
        _entry("b1", "short", 5),
        _entry("c0", "too-short", 2),
    ]
    return list_windows(entries, 5)


def _weights(path: Path, content: object) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def _draw_many(config: SamplerConfig, num_steps: int = 200) -> Counter[WindowRef]:
    sampler = WindowSampler(_windows(), config)
    return Counter(ref for _ in range(num_steps) for ref in sampler.next_batch())


def test_a_resumed_sampler_draws_what_the_unbroken_one_would() -> None:
    config = SamplerConfig(batch_size=7, seed=3)
    unbroken = WindowSampler(_windows(), config)
    expected = [unbroken.next_batch() for _ in range(6)]
    first = WindowSampler(_windows(), config)
    begun = [first.next_batch() for _ in range(2)]
    state = json.loads(json.dumps(first.state_dict()))
    second = WindowSampler(_windows(), config)
    second.load_state_dict(state)
    assert begun + [second.next_batch() for _ in range(4)] == expected
    assert second.step == 6


def test_another_seed_draws_other_windows() -> None:
    one = WindowSampler(_windows(), SamplerConfig(seed=0)).draw(0)
    assert one != WindowSampler(_windows(), SamplerConfig(seed=1)).draw(0)
    assert one != WindowSampler(_windows(), SamplerConfig(seed=0)).draw(1)


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_ranks_share_out_the_rows_of_the_joined_batch(num_ranks: int) -> None:
    windows = _windows()
    joined = WindowSampler(windows, SamplerConfig(batch_size=4 * num_ranks, seed=5))
    ranks = [
        WindowSampler(windows, SamplerConfig(batch_size=4, seed=5), rank=rank, num_ranks=num_ranks)
        for rank in range(num_ranks)
    ]
    for step in range(5):
        assert [ref for sampler in ranks for ref in sampler.draw(step)] == joined.draw(step)


def test_every_drawn_window_lies_in_its_episode_and_every_one_is_reached() -> None:
    drawn = _draw_many(SamplerConfig(strategy="windows", batch_size=32))
    sizes = {entry.id: entry.num_frames for entry in _windows().entries}
    assert all(0 <= ref.start <= sizes[ref.episode_id] - 5 for ref in drawn)
    assert len(drawn) == _windows().num_windows
    assert all(ref.length == 5 for ref in drawn)


def test_uniform_over_windows_draws_each_window_as_often() -> None:
    chances = episode_chances(_windows(), SamplerConfig(strategy="windows"))
    np.testing.assert_allclose(chances, np.array([96, 46, 6, 2]) / 150)


def test_uniform_over_tasks_draws_each_task_as_often() -> None:
    drawn = _draw_many(SamplerConfig(strategy="tasks", batch_size=32))
    tasks = Counter()
    for ref, count in drawn.items():
        tasks[ref.episode_id[0]] += count
    assert abs(tasks["a"] / drawn.total() - 0.5) < 0.03
    within = episode_chances(_windows(), SamplerConfig(strategy="tasks"))
    np.testing.assert_allclose(within, [0.5 * 96 / 142, 0.5 * 46 / 142, 0.5 * 6 / 8, 0.5 * 2 / 8])


def test_weights_of_tasks_and_of_episodes_are_kept(tmp_path: Path) -> None:
    by_task = _weights(tmp_path / "t.json", {"kind": "task", "weights": {"long": 3, "short": 1}})
    chances = episode_chances(_windows(), SamplerConfig(strategy="weighted", weights_file=by_task))
    assert chances[:2].sum() == pytest.approx(0.75)
    by_episode = _weights(tmp_path / "e.json", {"kind": "episode", "weights": {"a1": 1, "b1": 3}})
    chances = episode_chances(
        _windows(), SamplerConfig(strategy="weighted", weights_file=by_episode)
    )
    np.testing.assert_allclose(chances, [0.0, 0.25, 0.0, 0.75])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"kind": "task", "weights": {"lonng": 1}}, "Unknown task 'lonng'. Did you mean 'long'?"),
        ({"kind": "task", "weights": {"long": -1}}, "gives 'long' the weight -1.0"),
        ({"kind": "task", "weights": {"long": 0}}, "gives no task a weight above 0"),
        ({"kind": "colour", "weights": {}}, "has kind 'colour', expected 'task' or 'episode'"),
        ([1, 2], "is not a weights file"),
    ],
)
def test_bad_weights_say_what_is_wrong(tmp_path: Path, content: object, message: str) -> None:
    file = _weights(tmp_path / "w.json", content)
    with pytest.raises(DataError) as caught:
        WindowSampler(_windows(), SamplerConfig(strategy="weighted", weights_file=file))
    assert message in str(caught.value)


def test_settings_that_would_be_ignored_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="goes with strategy 'weighted' and only with it"):
        SamplerConfig(strategy="tasks", weights_file="w.json")
    with pytest.raises(ConfigError, match="goes with strategy 'weighted' and only with it"):
        SamplerConfig(strategy="weighted")
    with pytest.raises(ConfigError, match="batch_size must be at least 1, got 0"):
        SamplerConfig(batch_size=0)
    with pytest.raises(ConfigError, match=r"rank must lie in 0 … 1, got 2"):
        WindowSampler(_windows(), SamplerConfig(), rank=2, num_ranks=2)
    config = SamplerConfig(strategy="weighted", weights_file=str(tmp_path / "none.json"))
    with pytest.raises(DataError, match="There is no weights file"):
        WindowSampler(_windows(), config)


def test_a_run_does_not_resume_on_other_data() -> None:
    saved = WindowSampler(_windows(), SamplerConfig(seed=1)).state_dict()
    with pytest.raises(CheckpointError, match="was saved with seed 1, now it is 2"):
        WindowSampler(_windows(), SamplerConfig(seed=2)).load_state_dict(saved)
