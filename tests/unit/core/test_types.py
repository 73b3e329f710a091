from typing import Any

import numpy as np
import pytest

from reverie.core.errors import ConfigError, ShapeError
from reverie.core.types import ActionSpec, Episode, FrameSpec


def make_episode(**changes: Any) -> Episode:
    values: dict[str, Any] = {
        "frames": np.zeros((4, 5, 6, 3), np.uint8),
        "actions": np.zeros((3, 2), np.float32),
        "rewards": np.zeros(3, np.float32),
        "terminated": False,
        "task": "toy-dot",
        "source": "random",
        "seed": 1,
    }
    return Episode(**(values | changes))


def test_an_episode_knows_its_length_and_its_frame_size() -> None:
    episode = make_episode()
    assert episode.num_steps == 3
    assert episode.frame_spec == FrameSpec(height_px=5, width_px=6)
    assert episode.frame_spec.shape == (5, 6, 3)


def test_an_episode_of_no_steps_is_one_frame() -> None:
    episode = make_episode(
        frames=np.zeros((1, 1, 1, 3), np.uint8),
        actions=np.zeros((0, 1), np.float32),
        rewards=np.zeros(0, np.float32),
    )
    assert episode.num_steps == 0


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"frames": np.zeros((3, 5, 6, 3), np.uint8)}, "got 3 frames, 3 actions, 3 rewards"),
        ({"actions": np.zeros((4, 2), np.float32)}, "got 4 frames, 4 actions, 3 rewards"),
        ({"rewards": np.zeros(2, np.float32)}, "T\\+1 frames, T actions and T rewards"),
        ({"frames": np.zeros((4, 5, 6), np.uint8)}, "needs frames \\(T\\+1,h,w,3\\)"),
        ({"actions": np.zeros(3, np.float32)}, "got \\(4, 5, 6, 3\\), \\(3,\\), \\(3,\\)"),
        ({"frames": np.zeros((4, 5, 6, 3), np.float32)}, "RGB uint8 frames.*got float32 x3"),
        ({"frames": np.zeros((4, 5, 6, 4), np.uint8)}, "got uint8 x4 channels"),
        ({"actions": np.zeros((3, 2))}, "float32 actions.*float64"),
        ({"rewards": np.zeros(3)}, "float32 rewards.*float64"),
        ({"actions": np.full((3, 2), 1.5, np.float32)}, "\\[-1, 1\\], got a lane at 1.5.*Clip"),
        ({"behaviours": ("noop",)}, "got 1 names for 3 steps"),
    ],
)
def test_an_episode_that_does_not_fit_together_is_refused(
    changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(ShapeError, match=text):
        make_episode(**changes)


def test_actions_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ShapeError, match="got a lane at nan"):
        make_episode(actions=np.full((3, 2), np.nan, np.float32))


def test_empty_frames_and_actions_without_lanes_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1x1, got 0x6"):
        FrameSpec(height_px=0, width_px=6)
    with pytest.raises(ConfigError, match="at least one lane, got width 0"):
        ActionSpec(width=0)
