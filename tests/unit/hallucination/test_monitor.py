"""A calibrated watch: planted faults, held flags, heat maps, the single-step gauge."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from reverie.core.errors import DataError, ShapeError
from reverie.core.types import Episode
from reverie.evaluate.clips import cut_clips
from reverie.evaluate.detection import FitOrder, apply_calibration, fit_calibration
from reverie.evaluate.heat import score_heat
from reverie.evaluate.reconstruction import reconstruct
from reverie.evaluate.rollout import ClipNoise, RolloutConfig
from reverie.evaluate.watched import WatchedDreams, join_watched, watch_clips
from reverie.hallucination.calibrate import Calibration, CalibrationSetup
from reverie.hallucination.heat import (
    difference_map,
    patch_px,
    round_trip_map,
    seed_map,
    to_patches,
)
from reverie.hallucination.instant import probability_gauge
from reverie.hallucination.monitor import Monitor
from reverie.hallucination.verifier import Verifier, VerifierConfig
from reverie.hallucination.watch import NUM_TWINS
from reverie.models.api import Noise, StepContext
from reverie.recipes.verifier import read_verifier
from tests.support.worlds import (
    SIDE_PX,
    PixelTokenizer,
    PlainState,
    Rule,
    RuleWorld,
    action_rule,
    colour_episode,
)

SETUP = CalibrationSetup(
    checkpoint="a",
    num_flow_steps=4,
    commit_signal=1.0,
    num_seeds=2,
    normaliser="none",
    context=8,
)
CHANNELS = ("consistency", "m", "step", "moved", "hindcast_gain")
HORIZON = 24
TELEPORT_AT = 20


class Forgetful(PixelTokenizer):
    """Cannot paint anything but black in the lower right pixel."""

    def decode(self, latents: torch.Tensor, state: object = None):
        pictures, state = super().decode(latents, state)
        pictures[..., -1, -1, :] = 0
        return pictures, state


def half_rule(at: int) -> Rule:
    """The lower half shows the action, the upper one stays black; from frame ``at`` on, white."""

    def rule(state: PlainState, action: torch.Tensor, noise: Noise) -> torch.Tensor:
        trace = action_rule(state, action, noise).clone()
        trace[:, :, : SIDE_PX**2 // 2] = float(state.num_frames >= at)
        return trace

    return rule


NEVER_AT = 10_000


def half_episode(seed: int) -> Episode:
    episode = colour_episode(seed)
    frames = episode.frames.copy()
    frames[:, : SIDE_PX // 2] = 0
    return replace(episode, frames=frames)


def dream(rule: object, seeds: range, num_twins: int = NUM_TWINS) -> WatchedDreams:
    world = RuleWorld(rule, tokenizer=PixelTokenizer())  # type: ignore[arg-type]
    episodes = [half_episode(seed) for seed in seeds]
    clips = cut_clips(episodes, action_width=3, num_per_episode=1, num_frames=8 + HORIZON)
    real = reconstruct(world, clips, batch_rows=16)  # type: ignore[arg-type]
    config = RolloutConfig(horizon=HORIZON, batch_rows=16)
    return watch_clips(world, clips, real, config, num_twins=num_twins)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    """Fitted on clean dreams and on dreams that teleport at several other moments."""
    parts = [dream(half_rule(NEVER_AT), range(300, 390))]
    for index, at in enumerate((12, 15, 24, 27)):
        begin = 200 + 20 * index
        parts.append(dream(half_rule(at), range(begin, begin + 12)))
    fitted = join_watched(parts)
    fitted = replace(fitted, episode=np.arange(fitted.num_rows))
    order = FitOrder(setup=SETUP, domains={"toy-paint": "toy"}, channels=CHANNELS)
    return fit_calibration(fitted, order)


def test_a_dream_that_teleports_is_flagged_and_a_clean_one_is_not(
    calibration: Calibration,
) -> None:
    wrong, right = dream(half_rule(TELEPORT_AT), range(4)), dream(half_rule(NEVER_AT), range(4))
    assert wrong.has_diverged[:, TELEPORT_AT - 6 :].all() and not right.has_diverged.any()
    for dreams, is_bad in ((wrong, True), (right, False)):
        probability, threshold = apply_calibration(calibration, dreams)
        flagged = (probability > threshold[:, None]).any(axis=1)
        assert flagged.all() if is_bad else not flagged.any()
    probability, _ = apply_calibration(calibration, wrong)
    before, after = TELEPORT_AT - 8, TELEPORT_AT - 8 + 1
    assert (probability[:, after] > probability[:, before - 1]).all()


def test_the_monitor_says_what_the_offline_judgement_says(calibration: Calibration) -> None:
    world = RuleWorld(half_rule(TELEPORT_AT))
    clips = cut_clips(
        [half_episode(seed) for seed in range(3)],
        action_width=3,
        num_per_episode=1,
        num_frames=8 + HORIZON,
    )
    offline, threshold = apply_calibration(calibration, dream(half_rule(TELEPORT_AT), range(3)))
    context = clips.batch.slice_time(0, 8)
    noises = ClipNoise.draw(world, [0, 1, 2], 8, HORIZON, seed=0)  # type: ignore[arg-type]
    state = world.start(context, noises.context)
    monitor = Monitor.begin(world, context, state, calibration=calibration)  # type: ignore[arg-type]
    seen, verdict = [], None
    for index, noise in enumerate(noises.steps):
        before, action = state, clips.batch.prev_actions[:, 8 + index]
        state, prediction = world.step(before, action, noise)
        step = StepContext(before=before, action=action, prediction=prediction, after=state)
        monitor, verdict = monitor.observe(world, step)  # type: ignore[arg-type]
        seen.append(verdict.probability)
    assert np.allclose(np.stack(seen, axis=1), offline)
    assert verdict is not None
    assert np.array_equal(verdict.held, offline.max(axis=1)), "a flag is held when dreams calm down"
    first = (offline > threshold[:, None]).argmax(axis=1) + 1
    assert verdict.is_flagged.all() and np.array_equal(verdict.flagged_at, first)


def test_a_monitor_dreams_as_many_twins_as_its_calibration_was_fitted_with(
    calibration: Calibration,
) -> None:
    few = dream(half_rule(16), range(24), num_twins=2)
    assert few.twins.shape[2] == 2 and calibration.num_twins == NUM_TWINS
    order = FitOrder(setup=SETUP, domains={}, channels=CHANNELS)
    world = RuleWorld(half_rule(TELEPORT_AT))
    clips = cut_clips([half_episode(0)], action_width=3, num_per_episode=1, num_frames=9)
    context = clips.batch.slice_time(0, 8)
    state = world.start(context, ClipNoise.draw(world, [0], 8, 1, seed=0).context)  # type: ignore[arg-type]
    for fitted in (calibration, fit_calibration(few, order)):
        monitor = Monitor.begin(world, context, state, calibration=fitted)  # type: ignore[arg-type]
        assert monitor.watch.twins.num_rows == fitted.num_twins
    assert fit_calibration(few, order).num_twins == 2


def test_a_calibration_with_novelty_needs_its_bank(calibration: Calibration) -> None:
    novel = fit_calibration(
        replace(
            (dreams := dream(half_rule(16), range(24))),
            signals={**dreams.signals, "knn_global": dreams.signals["m"]},
            episode=np.arange(24),
            dream=np.where(np.arange(24)[:, None] % 2, dreams.dream, 0.0),
        ),
        FitOrder(setup=SETUP, domains={}, channels=("knn_global",)),
    )
    world = RuleWorld(action_rule)
    batch = cut_clips([colour_episode(0)], action_width=3, num_per_episode=1).batch
    state = world.start(batch.slice_time(0, 8), torch.zeros(1, 8, SIDE_PX**2, 3))
    with pytest.raises(DataError, match="has no bank of them"):
        Monitor.begin(world, batch.slice_time(0, 8), state, calibration=novel)  # type: ignore[arg-type]


def test_the_monitor_reads_the_verifier_as_it_was_read_offline() -> None:
    config = VerifierConfig(num_tokens=SIDE_PX**2, num_channels=3, action_width=3, width=8, depth=1)
    torch.manual_seed(0)
    verifier = Verifier(config).eval().requires_grad_(False)
    dreams = dream(half_rule(TELEPORT_AT), range(24))
    seen = {**dreams.signals, "verifier": read_verifier(verifier, dreams)}
    good = np.where(np.arange(24)[:, None] % 2, dreams.dream, 0.0)
    dreams = replace(dreams, signals=seen, episode=np.arange(24), dream=good)
    learned = fit_calibration(dreams, FitOrder(setup=SETUP, domains={}, channels=("verifier",)))
    offline, _ = apply_calibration(learned, dreams)
    clips = cut_clips(
        [half_episode(seed) for seed in range(24)],
        action_width=3,
        num_per_episode=1,
        num_frames=8 + HORIZON,
    )
    world = RuleWorld(half_rule(TELEPORT_AT), tokenizer=PixelTokenizer())
    context = clips.batch.slice_time(0, 8)
    noises = ClipNoise.draw(world, list(range(24)), 8, HORIZON, seed=0)  # type: ignore[arg-type]
    state = world.start(context, noises.context)
    with pytest.raises(DataError, match="looks at a verifier, and the model has none"):
        Monitor.begin(world, context, state, calibration=learned)  # type: ignore[arg-type]
    monitor = Monitor.begin(
        world,  # type: ignore[arg-type]
        context,
        state,
        calibration=learned,
        verifier=verifier,
    )
    for index in range(6):
        before, action = state, clips.batch.prev_actions[:, 8 + index]
        state, prediction = world.step(before, action, noises.steps[index])
        step = StepContext(before=before, action=action, prediction=prediction, after=state)
        monitor, verdict = monitor.observe(world, step)  # type: ignore[arg-type]
        assert np.allclose(verdict.probability, offline[:, index], atol=1e-5)


def test_the_gauge_of_a_single_step_ranks_like_its_readings(calibration: Calibration) -> None:
    assert calibration.instant is not None
    readings = {name: torch.tensor([0.1, 0.1, torch.nan]) for name in calibration.instant.readings}
    found = calibration.instant.probability(readings)
    assert found[0] == found[1] and found[2].isnan() and 0.0 <= float(found[0]) <= 1.0
    gauge = probability_gauge(calibration.instant)
    world = RuleWorld(action_rule)
    batch = cut_clips(
        [colour_episode(seed) for seed in range(3)], action_width=3, num_per_episode=1
    ).batch
    state = world.start(batch.slice_time(0, 8), torch.zeros(3, 8, SIDE_PX**2, 3))
    action = batch.prev_actions[:, 8]
    noise = world.draw_noise(3, torch.Generator().manual_seed(0))
    after, prediction = world.step(state, action, noise)
    step = StepContext(before=state, action=action, prediction=prediction, after=after)
    whole = gauge(world, step)  # type: ignore[arg-type]
    assert whole.shape == (3,) and torch.isfinite(whole).all()


def test_example_n_heat_map() -> None:
    gap = torch.zeros(1, 4, 4)
    gap[0, 0, 0], gap[0, 0, 1], gap[0, 3, 3] = 0.4, 0.2, 0.8
    assert to_patches(gap, 2)[0].tolist() == [
        pytest.approx([0.15, 0.0]),
        pytest.approx([0.0, 0.2]),
    ]


def test_a_heat_map_points_at_the_patch_that_the_tokenizer_would_not_paint() -> None:
    world = RuleWorld(action_rule, tokenizer=Forgetful())
    bright = torch.full((2, SIDE_PX, SIDE_PX, 3), 200, dtype=torch.uint8)
    heat = round_trip_map(world, bright, 1)  # type: ignore[arg-type]
    assert heat.flatten(1).argmax(dim=1).tolist() == [15, 15]
    assert float(heat[0, 0, 0]) < 0.01 < float(heat[0, -1, -1])


def test_a_heat_map_is_judged_by_the_patches_that_are_wrong() -> None:
    clips = cut_clips(
        [colour_episode(seed) for seed in range(3)], action_width=3, num_per_episode=1
    )
    dreamed = clips.pictures()[:, 8:].copy()
    dreamed[:, :, -1, -1] = 255 - dreamed[:, :, -1, -1]
    world = RuleWorld(action_rule, tokenizer=Forgetful())
    found = score_heat(world, clips, dreamed, context=8)  # type: ignore[arg-type]
    assert found.num_clips == 3 and found.auroc > 0.95 > found.motion_auroc


def test_a_seed_map_is_hot_where_seeds_disagree() -> None:
    pictures = torch.zeros(1, 3, 4, 4, 3, dtype=torch.uint8)
    pictures[0, :, :2, :2] = torch.tensor([0, 100, 200], dtype=torch.uint8).view(3, 1, 1, 1)
    heat = seed_map(pictures, 2)
    assert float(heat[0, 0, 0]) == pytest.approx(100 / 255, abs=1e-6)
    assert heat[0].flatten()[1:].tolist() == [0.0, 0.0, 0.0]


def test_patches_divide_the_picture() -> None:
    assert (patch_px(224), patch_px(64), patch_px(4)) == (16, 4, 1)
    with pytest.raises(ShapeError, match="cannot be cut into patches of 3"):
        difference_map(*(torch.zeros(1, 4, 4, 3, dtype=torch.uint8),) * 2, 3)
