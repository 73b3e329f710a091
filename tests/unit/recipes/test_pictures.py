"""Strips and animations show the frames they were given."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from reverie.recipes.pictures import stack_rows, write_gif, write_strip


def moving_square(num_frames: int) -> np.ndarray:
    frames = np.full((num_frames, 20, 24, 3), 30, dtype=np.uint8)
    for index in range(num_frames):
        frames[index, 3:9, index : index + 6] = (200, 40, 10 * index)
    return frames


def test_the_real_frame_is_above_the_dreamed_one() -> None:
    real, dreamed = moving_square(3), moving_square(3)[::-1].copy()
    pairs = stack_rows(real, dreamed)
    assert np.array_equal(pairs[:, :20], real)
    assert np.array_equal(pairs[:, -20:], dreamed)


def test_a_strip_shows_the_first_and_the_last_frame(tmp_path: Path) -> None:
    frames = moving_square(9)
    write_strip(tmp_path / "strip.png", frames, num_shown=4)
    picture = cv2.cvtColor(cv2.imread(str(tmp_path / "strip.png")), cv2.COLOR_BGR2RGB)
    assert picture.shape == (20, 4 * 24 + 3 * 2, 3)
    assert np.array_equal(picture[:, :24], frames[0])
    assert np.array_equal(picture[:, -24:], frames[-1])


@pytest.mark.parametrize("noise", [0, 40])
def test_an_animation_reads_back_as_it_was_written(tmp_path: Path, noise: int) -> None:
    rng = np.random.default_rng(0)
    frames = moving_square(7)
    frames = (frames + rng.integers(0, noise + 1, frames.shape)).astype(np.uint8)
    write_gif(tmp_path / "a.gif", frames, rate_hz=10.0)
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 7
        assert picture.info["duration"] == 100
        read = []
        for index in range(7):
            picture.seek(index)
            read.append(np.array(picture.convert("RGB")))
    error = np.abs(np.stack(read).astype(int) - frames)
    # Flat colours come back exactly; noisy ones to the nearest of 256 colours.
    assert error.max() == 0 if noise == 0 else error.mean() < 6
