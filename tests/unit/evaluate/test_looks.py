"""Laws of the perceptual bench on tokenizers whose loss is known."""

import json
from functools import cache

import numpy as np
import pytest
import torch

from reverie.core.errors import ConfigError, DataError
from reverie.core.types import Episode
from reverie.data.codecs import encode_png
from reverie.evaluate.looks import (
    CHANGES,
    SEEN,
    UNSEEN,
    Footage,
    LookFrames,
    LooksConfig,
    change_look,
    cut_footage,
    measure_look,
)
from reverie.evaluate.looks_numbers import looks_numbers
from reverie.evaluate.looks_report import look_pictures, looks_sections
from reverie.evaluate.metrics import psnr
from reverie.models.api import TokenizerProtocol
from tests.support.worlds import PixelTokenizer, colour_episode

CONFIG = LooksConfig(num_frames=5, clips_per_episode=3, batch_rows=4)
CPU = torch.device("cpu")


@cache
def make_footage(task: str = "toy-paint", first_seed: int = 0) -> Footage:
    return cut_footage([colour_episode(first_seed + seed, task=task) for seed in range(3)], CONFIG)


def measure_all(tokenizer: TokenizerProtocol) -> list[LookFrames]:
    own = make_footage()
    looks = {SEEN: own} | {look: change_look(own, look, CONFIG) for look in CHANGES}
    looks[UNSEEN] = make_footage("toy-fall", 10)
    return [
        measure_look(tokenizer, footage, look, CONFIG, device=CPU)
        for look, footage in looks.items()
    ]


def test_a_tokenizer_that_loses_nothing_is_limited_to_120_db_and_reads_zero() -> None:
    numbers = looks_numbers(measure_all(PixelTokenizer()))
    json.dumps(numbers, allow_nan=False)
    for look, row in numbers["looks"].items():
        assert row["psnr_db"] == 120.0 and row["psnr_interval_db"] == [120.0, 120.0], look
        assert row["change_db"] == 0.0 and row["u_r"] == 0.0 and row["failed_share"] == 0.0
    found = numbers["ranking"]["u_r"]["seen and unseen tasks"]
    assert found["psnr"]["pooled"] is None and found["failed"]["pooled"] is None


def test_where_the_loss_is_in_the_latent_u_r_ranks_frames_perfectly() -> None:
    parts = measure_all(PixelTokenizer(keep=0.7, scale=2.0))
    for part in parts:
        # Enc(Dec(z)) = 0.7 z: u_r is three tenths of the size, in the tokenizer's own units.
        np.testing.assert_allclose(part.residual, 0.3 * part.size, rtol=1e-5)
    ranking = looks_numbers(parts)["ranking"]
    for group, found in ranking["u_r"].items():
        assert found["psnr"]["pooled"] < -0.995, group
        assert found["psnr"]["within_mean"] < -0.995, group
    assert ranking["u_r"]["seen"]["failed"]["pooled"] > 0.99


def test_a_changed_look_is_compared_with_its_own_frames() -> None:
    row = looks_numbers(measure_all(PixelTokenizer(keep=0.7)))["looks"]["dark"]
    # Errors shrink with the brightness: 20 log10(1 / 0.6), whatever the frame.
    assert row["change_db"] == pytest.approx(4.437, abs=0.03)
    low, high = row["change_interval_db"]
    assert high - low < 0.1, "paired: the spread between frames is not in it"
    low, high = row["psnr_interval_db"]
    assert high - low > 0.3


def test_permuting_the_clips_permutes_the_rows_whatever_the_look() -> None:
    tokenizer, order = PixelTokenizer(keep=0.8), [5, 2, 8, 0, 1, 7, 3, 6, 4]
    own = make_footage()
    for look in CHANGES:
        straight = change_look(own, look, CONFIG)
        turned = change_look(own.select(order), look, CONFIG)
        assert np.array_equal(straight.frames[order], turned.frames), look
        first, second = (
            measure_look(tokenizer, footage, look, CONFIG, device=CPU)
            for footage in (straight, turned)
        )
        assert np.array_equal(first.errors[order], second.errors)
        np.testing.assert_allclose(first.residual[order], second.residual, rtol=1e-6)
        assert tuple(first.episode[row] for row in order) == second.episode


def test_looks_do_what_they_are_called() -> None:
    own = make_footage()
    before = own.frames.copy()
    changed = {look: change_look(own, look, CONFIG).frames for look in CHANGES}
    assert np.array_equal(own.frames, before), "the frames themselves stay as they were"
    assert all((frames != before).any() for look, frames in changed.items() if look != "mirrored")
    assert np.array_equal(changed["mirrored"], before[:, :, :, ::-1])
    assert np.abs(changed["dark"] - 0.6 * before).max() <= 0.5
    assert np.abs((255 - changed["bright"]) - 0.6 * (255.0 - before)).max() <= 0.5
    # A block of 30 % of the side of four pixels is one pixel.
    covered = (changed["block"] != before).any(axis=-1)
    assert (covered.sum(axis=(2, 3)) <= 1).all() and covered.any()
    noise = (changed["noise"].astype(float) - before)[(before > 64) & (before < 192)] / 255
    assert noise.std() == pytest.approx(0.08, rel=0.1) and abs(noise.mean()) < 0.01
    turned = LooksConfig(num_frames=5, hue_degrees=360.0)
    round_trip = change_look(own, "hue", turned).frames.astype(int)
    assert np.abs(round_trip - before).max() <= 1
    grey = Footage(
        task="toy-paint", frames=np.full((1, 2, 4, 4, 3), 77, np.uint8), origin=((0, 0),)
    )
    assert np.array_equal(change_look(grey, "hue", CONFIG).frames, grey.frames)


def test_failed_frames_are_those_below_the_tasks_own_fifth_percentile() -> None:
    parts = measure_all(PixelTokenizer(keep=0.7))
    rows = looks_numbers(parts)["looks"]
    assert rows[SEEN]["failed_share"] == pytest.approx(0.05, abs=0.03)
    assert rows["bright"]["failed_share"] > 0.2, "bright frames lose more of this tokenizer"
    limit = np.quantile(psnr(parts[0].errors), 0.05)
    bright = next(part for part in parts if part.look == "bright")
    assert rows["bright"]["failed_share"] == pytest.approx((psnr(bright.errors) < limit).mean())


def test_worst_and_best_frames_are_shown_real_decoded_and_wrong() -> None:
    parts = measure_all(PixelTokenizer(keep=0.7))
    worst = parts[0].worst[0]
    assert worst.error == parts[0].errors.max() and parts[0].best[0].error == parts[0].errors.min()
    assert float(np.mean(((worst.real.astype(float) - worst.decoded) / 255) ** 2)) == pytest.approx(
        worst.error, rel=1e-4
    )
    pictures = look_pictures(parts)
    assert set(pictures) == {SEEN, UNSEEN, *CHANGES}
    # Two ranks of three rows; three frames of the one task that there is.
    assert pictures[SEEN].shape == (3 + 6 * 99, 104 + 3 * 99 + 3, 3)
    shown = {look: encode_png(picture) for look, picture in pictures.items()}
    page = "".join(looks_sections(parts, looks_numbers(parts), shown))
    assert "toy-fall" in page and "mirrored" in page and "latent size" in page


def test_frames_are_cut_evenly_and_short_episodes_refused() -> None:
    footage = make_footage()
    assert footage.origin[:3] == ((0, 0), (0, 18), (0, 36))
    assert np.array_equal(footage.frames[1], colour_episode(0).frames[18:23])
    short: list[Episode] = [colour_episode(0, num_steps=3)]
    with pytest.raises(DataError, match="No episode has 5 frames in a row, the longest of 1 has 4"):
        cut_footage(short, CONFIG)


def test_looks_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="Unknown look 'mirored'. Did you mean 'mirrored'"):
        change_look(make_footage(), "mirored", CONFIG)
    with pytest.raises(ConfigError, match="must be at least 1, got 0, 3 and 8"):
        LooksConfig(num_frames=0)
    with pytest.raises(ConfigError, match="share of the frame's side, got 1.5"):
        LooksConfig(block_share=1.5)
