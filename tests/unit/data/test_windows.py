"""The one bridge of time: seen from pixels, and by its laws."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from reverie.collect.policies import make_policy
from reverie.core.errors import ConfigError, ShapeError
from reverie.core.types import Episode, FrameSpec
from reverie.data.windows import episode_to_batch, list_windows, to_batch, window_of
from reverie.envs.domains.toy.paint import decode_frame
from reverie.envs.episode import play_episode
from reverie.envs.registry import make_env
from tests.unit.data.making import make_episode

BYTE = 1.01 / 127.5
"""Values are painted as bytes."""


def _play_toy(task: str, *, seed: int, size_px: int = 224) -> Episode:
    env = make_env(task, frame_spec=FrameSpec(height_px=size_px, width_px=size_px))
    return play_episode(env, make_policy("random"), seed=seed)


@pytest.mark.parametrize("task", ["toy-paint", "toy-fall"])
@pytest.mark.parametrize("size_px", [224, 64])
def test_pixels_and_lanes_agree(task: str, size_px: int) -> None:
    episode = _play_toy(task, seed=3, size_px=size_px)
    num_frames = len(episode.frames)
    for start, length in ((0, num_frames), (0, 7), (5, 9), (num_frames - 4, 4)):
        batch = episode_to_batch(episode, start, length, action_width=5)
        assert batch.frames is not None
        for t in range(length):
            action, reward = decode_frame(batch.frames[0, t].numpy())
            assert_close(
                batch.prev_actions[0, t, :2], torch.from_numpy(action), atol=BYTE, rtol=0.0
            )
            assert float(batch.prev_rewards[0, t]) == pytest.approx(reward, abs=BYTE)


def test_a_world_that_ends_says_so_at_its_last_frame_only() -> None:
    episode = _play_toy("toy-fall", seed=1)
    assert episode.terminated
    batch = episode_to_batch(episode, action_width=2)
    expected = torch.zeros(1, len(episode.frames), dtype=torch.bool)
    expected[0, -1] = True
    assert_close(batch.is_terminal, expected)
    assert not episode_to_batch(episode, 0, 5, action_width=2).is_terminal.any()


def test_a_time_limit_is_not_a_terminal() -> None:
    episode = _play_toy("toy-paint", seed=1)
    assert not episode_to_batch(episode, action_width=2).is_terminal.any()


def test_a_window_from_the_middle_is_a_slice_of_the_whole() -> None:
    episode = make_episode(steps=17, terminated=True)
    whole = episode_to_batch(episode, action_width=4)
    for start in range(18):
        for length in range(1, 19 - start):
            part = episode_to_batch(episode, start, length, action_width=4)
            expected = whole.slice_time(start, start + length)
            for lane in ("frames", "prev_actions", "prev_rewards", "is_first", "is_terminal"):
                assert_close(getattr(part, lane), getattr(expected, lane))


def test_only_the_first_frame_of_an_episode_has_no_action() -> None:
    episode = make_episode(steps=6)
    first = episode_to_batch(episode, action_width=3)
    assert first.is_first[0].tolist() == [True] + [False] * 6
    assert not first.prev_actions[0, 0].any() and first.prev_rewards[0, 0] == 0
    middle = episode_to_batch(episode, 2, 3, action_width=3)
    assert not middle.is_first.any()
    assert_close(middle.prev_actions[0], torch.from_numpy(episode.actions[1:4]))
    assert_close(middle.prev_rewards[0], torch.from_numpy(episode.rewards[1:4]))


def test_padded_lanes_hold_zero_and_the_mask_says_so() -> None:
    windows = [
        window_of(make_episode(steps=9, lanes=lanes, seed=lanes, task=f"task-{lanes}"), 1, 4)
        for lanes in (1, 3, 5)
    ]
    batch = to_batch(windows, action_width=6)
    assert batch.action_mask.sum(dim=1).tolist() == [1, 3, 5]
    padding = (1 - batch.action_mask)[:, None, :]
    assert not (batch.prev_actions * padding).any()
    assert batch.prev_actions.abs().sum(dim=(1, 2)).min() > 0
    assert batch.task == ("task-1", "task-3", "task-5")


def test_frames_may_be_left_out() -> None:
    episode = make_episode(steps=9)
    window = window_of(episode, 2, 3)
    bare = type(window)(
        entry=window.entry,
        start=2,
        length=3,
        actions=window.actions,
        rewards=window.rewards,
        frames=None,
    )
    batch = to_batch([bare], action_width=3)
    assert batch.frames is None
    assert_close(batch.prev_actions, episode_to_batch(episode, 2, 3, action_width=3).prev_actions)
    with pytest.raises(ShapeError, match="Give all windows of a batch frames, or none"):
        to_batch([bare, window], action_width=3)


def test_a_batch_owns_its_memory() -> None:
    episode = make_episode(steps=4)
    batch = episode_to_batch(episode, action_width=3)
    assert batch.frames is not None
    batch.frames.zero_()
    assert episode.frames.any()


@pytest.mark.parametrize(
    ("lengths", "action_width", "message"),
    [
        ((), 3, "at least one window, got none"),
        ((3, 4), 3, r"need one length, got \[3, 4\]"),
        ((3,), 2, "have 3 lanes, the batch has room for 2. Raise action_width to 3"),
    ],
)
def test_windows_that_do_not_fit_are_refused(
    lengths: tuple[int, ...], action_width: int, message: str
) -> None:
    windows = [window_of(make_episode(steps=9), 0, length) for length in lengths]
    with pytest.raises(ShapeError, match=message):
        to_batch(windows, action_width=action_width)


def test_windows_never_cross_episodes() -> None:
    entries = [window_of(make_episode(steps=steps, seed=steps)).entry for steps in (2, 6, 9)]
    windows = list_windows(entries, 7)
    assert windows.counts.tolist() == [1, 4]
    assert windows.num_windows == 5
    assert isinstance(windows.counts, np.ndarray)
    with pytest.raises(ConfigError, match="3 episodes, the longest of 10 frames. Collect longer"):
        list_windows(entries, 11)
    with pytest.raises(ConfigError, match="at least one frame"):
        list_windows(entries, 0)
    with pytest.raises(ConfigError, match="0 episodes"):
        list_windows(entries, 3, tasks=["other"])
