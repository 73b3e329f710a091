"""Laws of evaluation on worlds whose behaviour is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from reverie.core.errors import ConfigError, DataError
from reverie.evaluate.action_following import FollowingConfig, find_donors, follow_actions
from reverie.evaluate.clips import Clips, cut_clips
from reverie.evaluate.metrics import ClipGains, onsets, psnr, step_gains
from reverie.evaluate.predictors import TaskReadings, compare_predictors
from reverie.evaluate.reconstruction import real_motion, reconstruct
from reverie.evaluate.rollout import (
    Rollout,
    RolloutConfig,
    dream_clips,
    measure_fps,
    measure_rollout,
)
from reverie.hallucination.thresholds import fit_task
from tests.support.worlds import (
    PixelTokenizer,
    RuleWorld,
    action_rule,
    colour_episode,
    noisy_rule,
    still_episode,
    still_rule,
    teleport_rule,
)

CONFIG = RolloutConfig(batch_rows=4)


def make_clips(num_episodes: int = 3, num_per_episode: int = 2) -> Clips:
    episodes = [colour_episode(seed) for seed in range(num_episodes)]
    return cut_clips(episodes, action_width=3, num_per_episode=num_per_episode)


def gains_of(rollout: Rollout) -> ClipGains:
    return ClipGains.of(
        dream=rollout.dream, still=rollout.still, decoded_still=rollout.decoded_still
    )


def test_truth_as_a_rollout_gives_the_tokenizer_ceiling_exactly() -> None:
    world, clips = RuleWorld(still_rule, tokenizer=PixelTokenizer(keep=0.8)), make_clips()
    seen = reconstruct(world, clips, batch_rows=4)
    rollout = measure_rollout(clips, seen, seen.frames[:, 8:], context=8)
    assert np.array_equal(rollout.dream, rollout.ceiling)
    assert 10 < float(psnr(rollout.ceiling.mean())) < 40


def test_repetition_gives_no_gain() -> None:
    clips = make_clips()
    seen = reconstruct(RuleWorld(still_rule), clips, batch_rows=4)
    repeated = np.repeat(clips.pictures()[:, 7:8], 16, axis=1)
    gains = gains_of(measure_rollout(clips, seen, repeated, context=8))
    assert gains.gain.tolist() == [0.0] * clips.num_clips


def test_a_still_dream_of_a_lossy_tokenizer_gains_nothing_over_the_decoded_still() -> None:
    world = RuleWorld(still_rule, tokenizer=PixelTokenizer(keep=0.8))
    clips = make_clips()
    rollout = dream_clips(world, clips, reconstruct(world, clips, batch_rows=4), CONFIG)
    assert gains_of(rollout).gain_decoded.tolist() == [0.0] * clips.num_clips


def test_a_world_that_is_its_action_is_dreamed_perfectly() -> None:
    world, clips = RuleWorld(action_rule), make_clips()
    seen = reconstruct(world, clips, batch_rows=4)
    rollout = dream_clips(world, clips, seen, CONFIG)
    assert np.array_equal(rollout.frames, clips.pictures()[:, 8:])
    assert (gains_of(rollout).gain > 60).all()
    following = follow_actions(world, clips, seen.latents, FollowingConfig())
    assert np.isnan(following.ratio), "an error of nothing cannot be compared with"
    assert following.others["shuffled"].mean() > 0.01 and following.num_without_donor == 0


def test_a_world_that_is_nearly_its_action_has_a_large_ratio() -> None:
    def rule(state, action, noise):
        return action_rule(state, action, noise) + 0.02 * noise.start[:, None]

    world, clips = RuleWorld(rule), make_clips()
    seen = reconstruct(world, clips, batch_rows=4)
    following = follow_actions(world, clips, seen.latents, FollowingConfig(batch_rows=5))
    assert following.ratio > 50 and following.ratio_later > 50
    assert following.ratio_of("zero") > 50 and following.ratio_of("time") > 50
    assert following.ratio_of("sequence") == pytest.approx(following.ratio)
    assert (following.ignored == 0).all()


def test_a_world_that_ignores_actions_has_ratio_one_exactly() -> None:
    def rule(state, action, noise):
        return noisy_rule(state, torch.zeros_like(action).repeat(1, 1), noise)

    world, clips = RuleWorld(rule), make_clips()
    seen = reconstruct(world, clips, batch_rows=4)
    following = follow_actions(world, clips, seen.latents, FollowingConfig())
    for ratio in (following.ratio, following.ratio_later, following.ratio_of("sequence")):
        assert ratio == 1.0
    assert (following.ignored == 1).all()


def test_actions_that_do_not_vary_have_no_ratio() -> None:
    clips = cut_clips([still_episode(0), still_episode(1)], action_width=3, num_per_episode=2)
    world = RuleWorld(noisy_rule)
    seen = reconstruct(world, clips, batch_rows=4)
    following = follow_actions(world, clips, seen.latents, FollowingConfig())
    assert np.isnan(following.ratio) and following.num_without_donor == len(following.true)


def test_donors_differ_in_a_valid_lane() -> None:
    actions = np.array([[0.0, 0.0], [0.05, 0.9], [0.5, 0.0], [0.09, -1.0]])
    lanes = np.array([[True, False]] * 4)
    donors = find_donors(actions, lanes, seed=0)
    assert (donors == [2, 2, donors[2], 2]).all() and donors[2] in (0, 1, 3)
    assert find_donors(actions[[0, 1, 3]], lanes[:3], seed=0).tolist() == [-1, -1, -1]


def test_results_do_not_depend_on_how_clips_are_batched() -> None:
    world, clips = RuleWorld(noisy_rule), make_clips()
    seen = reconstruct(world, clips, batch_rows=4)
    small = dream_clips(world, clips, seen, RolloutConfig(batch_rows=1))
    large = dream_clips(world, clips, seen, RolloutConfig(batch_rows=32))
    assert np.array_equal(small.frames, large.frames)
    for name in small.readings:
        np.testing.assert_allclose(small.readings[name], large.readings[name], rtol=1e-5)
    ratios = [
        follow_actions(world, clips, seen.latents, FollowingConfig(batch_rows=rows)).ratio
        for rows in (1, 5, 32)
    ]
    assert ratios == pytest.approx([ratios[0]] * 3, rel=1e-5)


def test_reading_does_not_change_the_dream() -> None:
    world, clips = RuleWorld(noisy_rule), make_clips()
    seen = reconstruct(world, clips, batch_rows=4)
    plain = dream_clips(world, clips, seen, replace(CONFIG, readings=()))
    read = dream_clips(world, clips, seen, CONFIG)
    assert np.array_equal(plain.frames, read.frames) and set(read.readings) == {
        "u_r",
        "u_f",
        "u_s",
        "m",
    }


def test_a_planted_teleport_is_flagged_and_clean_dreams_hardly_ever() -> None:
    tokenizer = PixelTokenizer(keep=0.9)
    clean, faulty = RuleWorld(action_rule), RuleWorld(teleport_rule(at=12))
    clean.tokenizer = faulty.tokenizer = tokenizer
    clips = make_clips(6, 2)
    seen = reconstruct(clean, clips, batch_rows=4)
    good = dream_clips(clean, clips, seen, CONFIG)
    bad = dream_clips(faulty, clips, seen, CONFIG)
    assert np.array_equal(bad.dream[:, :4], good.dream[:, :4])
    assert (bad.dream[:, 4:].mean(axis=1) > 10 * good.dream[:, 4:].mean(axis=1)).all()
    onset = onsets(step_gains(bad.dream, bad.decoded_still) <= 0)
    assert np.nanmin(onset) > 4 and np.isfinite(onset).mean() > 0.5
    assert (gains_of(bad).gain < gains_of(good).gain).all()
    limits = fit_task({"m": good.readings["m"]}, np.zeros_like(good.dream, bool), motion=1.0)
    share = np.mean(good.readings["m"] > limits.limits["m"].red)
    assert share <= 0.03


def test_predictors_are_compared_with_every_baseline() -> None:
    world = RuleWorld(noisy_rule, tokenizer=PixelTokenizer(keep=0.9))
    clips = make_clips(6, 2)
    seen = reconstruct(world, clips, batch_rows=4)
    rollout = dream_clips(world, clips, seen, CONFIG)
    motion = real_motion(world, seen.latents)
    task = TaskReadings(rollout=rollout, gains=gains_of(rollout), motion=motion, ignored=1.0)
    scores = {score.name: score for score in compare_predictors([task])}
    assert {"u_r", "u_r/floored", "u_r/clip", "u_s/running", "m", "1/m", "step"} <= set(scores)
    assert scores["m"].gain.pooled == pytest.approx(-scores["1/m"].gain.pooled, abs=0.3)
    assert np.isnan(scores["step"].gain.pooled), "every clip has the same steps"


def test_static_clips_are_left_out_of_predictors_and_counted() -> None:
    world = RuleWorld(noisy_rule)
    clips = cut_clips([still_episode(s) for s in range(3)], action_width=3, num_per_episode=1)
    seen = reconstruct(world, clips, batch_rows=4)
    rollout = dream_clips(world, clips, seen, CONFIG)
    gains = gains_of(rollout)
    assert gains.is_static.all() and gains.has_diverged.all()
    task = TaskReadings(rollout=rollout, gains=gains, motion=0.1, ignored=float("nan"))
    score = compare_predictors([task])[0]
    assert score.gain.num_clips == 0 and score.gain.num_dropped == 3


def test_clips_are_cut_evenly_and_short_episodes_counted() -> None:
    episodes = [colour_episode(0, num_steps=40), colour_episode(1, num_steps=10)]
    clips = cut_clips(episodes, action_width=5, num_per_episode=3)
    assert clips.start == (0, 8, 17) and clips.num_short_episodes == 1
    truth = episodes[0].frames[17:41]
    assert np.array_equal(clips.pictures()[2], truth)
    # The action that led to a frame is that frame's colour: alignment, read from the pixels.
    shown = clips.pictures()[:, 1:, 0, 0].astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(clips.batch.prev_actions[:, 1:, :3].numpy(), shown, atol=1e-6)


def test_bad_clips_are_refused() -> None:
    with pytest.raises(DataError, match="has 24 frames; the longest of 1 has 11"):
        cut_clips([colour_episode(1, num_steps=10)], action_width=3, num_per_episode=1)
    with pytest.raises(DataError, match="episodes of one task"):
        cut_clips(
            [colour_episode(0), colour_episode(1, task="toy-fall")],
            action_width=3,
            num_per_episode=1,
        )
    world, clips = RuleWorld(still_rule), make_clips()
    seen = reconstruct(world, clips, batch_rows=4)
    with pytest.raises(ConfigError, match="needs clips of 48, got 24"):
        dream_clips(world, clips, seen, RolloutConfig(horizon=40))


def test_speed_is_a_finite_rate() -> None:
    assert 1.0 < measure_fps(RuleWorld(noisy_rule), make_clips(), CONFIG) < 1e6


def test_real_motion_is_in_the_tokenizers_units() -> None:
    clips = make_clips()
    plain, scaled = (
        RuleWorld(still_rule),
        RuleWorld(still_rule, tokenizer=PixelTokenizer(scale=4.0)),
    )
    motions = [
        real_motion(world, reconstruct(world, clips, batch_rows=4).latents)
        for world in (plain, scaled)
    ]
    assert motions[0] == pytest.approx(motions[1], rel=1e-5) and motions[0] > 0.1
