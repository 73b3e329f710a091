"""Worked examples of the specification, to six digits."""

import numpy as np
import pytest

from reverie.evaluate.metrics import (
    ClipGains,
    action_ratio,
    diverges_within,
    frame_errors,
    gain_db,
    measure_drift,
    onsets,
    psnr,
    step_gains,
    window_ratios,
)

DIGITS = {"abs": 5e-7, "rel": 0}
CONTEXT = np.array([0.2, 0.4, 0.6, 0.8])
TRUTH = np.array([[0.3, 0.4, 0.6, 0.8], [0.5, 0.4, 0.5, 0.8]])
DREAM = np.array([[0.28, 0.41, 0.6, 0.8], [0.4, 0.42, 0.55, 0.79]])
DECODED = np.array([0.21, 0.39, 0.60, 0.78])


def errors(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mean squared errors of frames of four grey pixels, as (1 clip, t)."""
    shape = (-1, 2, 2, 1)
    return np.atleast_2d(frame_errors(first.reshape(shape), second.reshape(shape)))


def test_reconstruction_pools_the_error_before_the_logarithm() -> None:
    clips = np.array([0.0002, 0.0006])
    assert float(psnr(clips.mean())) == pytest.approx(33.979400, **DIGITS)
    assert float(psnr(clips).mean()) == pytest.approx(34.604094, **DIGITS)


def test_example_e_gain_of_a_moving_clip() -> None:
    dream, still = errors(DREAM, TRUTH), errors(np.stack([CONTEXT] * 2), TRUTH)
    decoded = errors(np.stack([DECODED] * 2), TRUTH)
    means = [float(values.mean()) for values in (dream, still, decoded)]
    assert means == pytest.approx([0.0016875, 0.013750, 0.012900], abs=5e-9)
    assert psnr(np.array(means)).tolist() == pytest.approx(
        [27.727562, 18.616973, 18.894103], **DIGITS
    )
    gains = ClipGains.of(dream=dream, still=still, decoded_still=decoded)
    assert gains.gain.tolist() == pytest.approx([9.110589], **DIGITS)
    assert gains.gain_decoded.tolist() == pytest.approx([8.833459], **DIGITS)
    assert not gains.is_static[0] and not gains.has_diverged[0]
    assert float(gain_db(dream, still).mean()) == pytest.approx(10.935433, **DIGITS)


def test_example_e_static_clip_is_left_out_but_judged() -> None:
    still_truth = np.stack([CONTEXT] * 2)
    dream = errors(still_truth + 0.01, still_truth)
    decoded = errors(np.stack([DECODED] * 2), still_truth)
    gains = ClipGains.of(dream=dream, still=errors(still_truth, still_truth), decoded_still=decoded)
    assert gains.gain.tolist() == pytest.approx([-80.0], **DIGITS)
    assert gains.gain_decoded.tolist() == pytest.approx([10 * np.log10(1.5)], **DIGITS)
    assert float(10 * np.log10(1.5)) == pytest.approx(1.760913, **DIGITS)
    assert gains.is_static[0] and not gains.has_diverged[0] and np.isnan(gains.moving_gain[0])
    worse = ClipGains.of(
        dream=decoded * 10, still=errors(still_truth, still_truth), decoded_still=decoded
    )
    assert worse.has_diverged[0]


def test_example_e_means_over_clips_are_not_pooled_over_clips() -> None:
    moving = [errors(DREAM, TRUTH).mean(), errors(np.stack([CONTEXT] * 2), TRUTH).mean()]
    static = [1e-4, 0.0]
    separate = [float(gain_db(*pair)) for pair in (moving, static)]
    assert float(np.mean(separate)) == pytest.approx(-35.444705, **DIGITS)
    pooled = float(gain_db((moving[0] + static[0]) / 2, (moving[1] + static[1]) / 2))
    assert pooled == pytest.approx(8.860566, **DIGITS)


def test_example_f_divergence_per_step() -> None:
    dream = np.array([[4, 6, 10, 30, 60, 80]]) * 1e-4
    still = np.array([[10, 15, 20, 25, 30, 35]]) * 1e-4
    gains = step_gains(dream, still, window=2)
    expected = [3.972897, 3.974196, 3.396536, 0.511284, -2.138184, -3.331431]
    assert gains[0].tolist() == pytest.approx(expected, **DIGITS)
    diverged = gains <= 0
    assert diverged[0].tolist() == [False, False, False, False, True, True]
    assert onsets(diverged).tolist() == [5.0]
    ahead = diverges_within(diverged, 2)[0]
    assert ahead[:4].tolist() == [0, 0, 1, 1] and np.isnan(ahead[4:]).all()


def test_a_dream_that_never_diverges_has_no_onset() -> None:
    assert np.isnan(onsets(np.zeros((1, 5), bool))).all()


def test_example_g_action_ratio() -> None:
    true, shuffled = np.array([0.010, 0.020, 0.005]), np.array([0.015, 0.018, 0.005])
    assert action_ratio(true, shuffled) == pytest.approx(1.085714, **DIGITS)
    ratios = window_ratios(true, shuffled)
    assert ratios.tolist() == pytest.approx([1.5, 0.9, 1.0])
    assert (ratios <= 1.1).tolist() == [False, True, True]


def test_windows_without_a_donor_leave_both_means() -> None:
    true, shuffled = np.array([0.01, 5.0]), np.array([0.02, np.nan])
    assert action_ratio(true, shuffled) == pytest.approx(2.0)
    assert np.isnan(action_ratio(true, np.full(2, np.nan)))
    assert np.isnan(action_ratio(np.full(2, 1e-11), np.ones(2)))


def test_uint8_frames_are_compared_in_unit_range() -> None:
    black, grey = np.zeros((2, 3, 4, 3), np.uint8), np.full((2, 3, 4, 3), 51, np.uint8)
    assert frame_errors(black, grey).tolist() == pytest.approx([0.04, 0.04])


def test_drift_is_seen_segment_by_segment() -> None:
    ceiling = np.full((2, 8), 1e-4)
    dream = np.repeat(np.array([[1e-4, 1e-3]]), 4, axis=1).repeat(2, axis=0)
    drift = measure_drift(dream, ceiling)
    assert drift.gap_db == pytest.approx((0.0, 10.0))
    assert drift.slope_db == pytest.approx(10.0)
