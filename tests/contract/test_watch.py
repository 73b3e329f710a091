"""What a watch keeps: it judges without touching, and rows never see each other."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.core.batch import Batch
from reverie.evaluate.clips import cut_clips
from reverie.evaluate.rollout import ClipNoise
from reverie.hallucination.features import (
    CHANNELS,
    MOTION_MEAN,
    WATCHED,
    FeatureState,
    dream_features,
    feature_names,
    step_features,
)
from reverie.hallucination.gauges import make_gauge
from reverie.hallucination.watch import NUM_TWINS, SIGNALS, Watch
from reverie.models.api import StepContext, WorldModel
from tests.support.small_world import SIDE_PX, make_small_world
from tests.support.worlds import (
    PixelTokenizer,
    RuleWorld,
    colour_episode,
    noisy_rule,
    still_episode,
    still_rule,
)

NUM_STEPS = 5


def make_clips(*, side: int = 4, episodes: int = 3) -> Batch:
    played = []
    for seed in range(episodes):
        episode = colour_episode(seed)
        frames = np.repeat(np.repeat(episode.frames, side // 4, axis=1), side // 4, axis=2)
        object.__setattr__(episode, "frames", frames)
        played.append(episode)
    return cut_clips(played, action_width=3, num_per_episode=1, num_frames=20).batch


def watch_dream(
    world: WorldModel, batch: Batch, rows: list[int], *, watches: bool = True
) -> tuple[list[Tensor], list[Mapping[str, Tensor]]]:
    context = batch.select(rows).slice_time(0, 8)
    noises = ClipNoise.draw(world, rows, 8, NUM_STEPS, seed=0)
    state = world.start(context, noises.context)
    watch = Watch.begin(world, context, state) if watches else None
    latents, seen = [], []
    for index, noise in enumerate(noises.steps):
        before, action = state, batch.select(rows).prev_actions[:, 8 + index]
        state, prediction = world.step(before, action, noise)
        latents.append(prediction.latent)
        if watch is not None:
            step = StepContext(before=before, action=action, prediction=prediction, after=state)
            watch, values = watch.observe(world, step)
            seen.append(values)
    return latents, seen


WORLDS = {
    "rule": lambda: (RuleWorld(noisy_rule, tokenizer=PixelTokenizer(keep=0.9)), make_clips()),
    "shortcut": lambda: (make_small_world(), make_clips(side=SIDE_PX)),
}


@pytest.mark.parametrize("kind", WORLDS)
def test_watching_changes_no_dream(kind: str) -> None:
    world, batch = WORLDS[kind]()
    watched, seen = watch_dream(world, batch, [0, 1, 2])
    alone, _ = watch_dream(world, batch, [0, 1, 2], watches=False)
    assert all(torch.equal(a, b) for a, b in zip(watched, alone, strict=True))
    assert all(tuple(values) == SIGNALS for values in seen)
    assert all(torch.isfinite(v).all() for values in seen for v in values.values())


@pytest.mark.parametrize("kind", WORLDS)
def test_a_permuted_batch_gives_permuted_signals_and_rows_read_as_if_alone(kind: str) -> None:
    world, batch = WORLDS[kind]()
    _, whole = watch_dream(world, batch, [0, 1, 2])
    _, turned = watch_dream(world, batch, [2, 0, 1])
    _, alone = watch_dream(world, batch, [1])
    for first, second, single in zip(whole, turned, alone, strict=True):
        for name in SIGNALS:
            torch.testing.assert_close(second[name], first[name][[2, 0, 1]], rtol=1e-3, atol=1e-6)
            torch.testing.assert_close(single[name], first[name][[1]], rtol=1e-3, atol=1e-6)


def test_the_watch_reads_the_same_predictors_as_the_gauges() -> None:
    world, batch = WORLDS["shortcut"]()
    context = batch.slice_time(0, 8)
    noises = ClipNoise.draw(world, [0, 1, 2], 8, 1, seed=0)
    state = world.start(context, noises.context)
    watch = Watch.begin(world, context, state)
    action = batch.prev_actions[:, 8]
    after, prediction = world.step(state, action, noises.steps[0])
    step = StepContext(before=state, action=action, prediction=prediction, after=after)
    _, seen = watch.observe(world, step)
    for name in ("u_r", "u_f", "u_s", "m"):
        torch.testing.assert_close(seen[name], make_gauge(name)(world, step))


def test_a_watch_forks_and_selects_like_its_dream() -> None:
    world, batch = WORLDS["shortcut"]()
    context = batch.slice_time(0, 8)
    noises = ClipNoise.draw(world, [0, 1, 2], 8, 1, seed=0)
    state = world.start(context, noises.context)
    watch = Watch.begin(world, context, state)
    action = batch.prev_actions[:, 8].repeat_interleave(2, dim=0)
    forked = state.fork(2)
    after, prediction = world.step(forked, action, noises.steps[0].fork(2))
    step = StepContext(before=forked, action=action, prediction=prediction, after=after)
    next_watch, seen = watch.fork(2).observe(world, step)
    for name, values in seen.items():
        torch.testing.assert_close(values[0::2], values[1::2], msg=name)
    kept = next_watch.select([4, 0])
    assert torch.equal(kept.context, watch.context[[2, 0]]) and kept.twins.num_rows == 2 * NUM_TWINS


def test_a_world_that_ignores_noise_and_actions_shows_it() -> None:
    world, batch = RuleWorld(still_rule), make_clips()
    _, seen = watch_dream(world, batch, [0, 1, 2])
    for values in seen:
        for name in ("u_s", "u_f", "twin_mse", "response", "m"):
            assert torch.equal(values[name], torch.zeros(3)), name


def test_the_hindcast_knows_a_model_that_is_right_from_one_that_is_wrong() -> None:
    still = cut_clips(
        [still_episode(seed) for seed in range(2)],
        action_width=3,
        num_per_episode=1,
        num_frames=20,
    ).batch
    _, right = watch_dream(RuleWorld(still_rule), still, [0, 1])
    _, wrong = watch_dream(RuleWorld(still_rule), make_clips(), [0, 1])
    assert float(right[0]["hindcast_mse"].max()) == 0.0
    assert float(wrong[0]["hindcast_mse"].min()) > 0.01


def test_a_context_too_short_for_a_hindcast_leaves_it_undefined() -> None:
    world, batch = RuleWorld(still_rule), make_clips()
    context = batch.slice_time(4, 8)
    state = world.start(context, torch.zeros(3, 4, 16, 3))
    assert Watch.begin(world, context, state).hindcast_mse.isnan().all()


def fake_signals(rows: int = 3, steps: int = 7) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    names = (*SIGNALS, "knn_global", "knn_local", "verifier")
    found = {name: torch.rand((rows, steps), generator=rng, dtype=torch.float64) for name in names}
    found["step"] = torch.arange(1.0, steps + 1, dtype=torch.float64).expand(rows, steps)
    return found


CHANNEL_NAMES = (*CHANNELS, MOTION_MEAN)


def test_features_have_names_and_are_finite() -> None:
    features = dream_features(fake_signals(), CHANNEL_NAMES)
    assert features.shape == (3, 7, len(feature_names(CHANNEL_NAMES)))
    assert torch.isfinite(features).all()


def test_features_of_a_step_do_not_know_what_comes_later() -> None:
    signals = fake_signals()
    whole = dream_features(signals, WATCHED)
    short = dream_features({name: values[:, :4] for name, values in signals.items()}, WATCHED)
    assert torch.equal(whole[:, :4], short)


def test_history_features_are_what_their_names_say() -> None:
    signals = fake_signals()
    names = feature_names(("u_r",))
    features = dream_features(signals, ("u_r",))
    logs = signals["u_r"].log()
    assert names == ("u_r", "u_r/mean", "u_r/max", "u_r/slope")
    torch.testing.assert_close(features[:, 5, 1], logs[:, 2:6].mean(dim=1))
    torch.testing.assert_close(features[:, 5, 2], logs[:, :6].max(dim=1).values)
    torch.testing.assert_close(features[:, 5, 3], logs[:, 5] - logs[:, 2:6].mean(dim=1))


def test_selected_rows_go_on_as_they_were() -> None:
    signals = fake_signals()
    state = FeatureState()
    for step in range(3):
        at_step = {name: values[:, step] for name, values in signals.items()}
        state, _ = step_features(state, at_step, WATCHED)
    rows = [2, 0]
    at_step = {name: values[rows, 3] for name, values in signals.items()}
    _, found = step_features(state.select(rows), at_step, WATCHED)
    torch.testing.assert_close(found, dream_features(signals, WATCHED)[rows, 3])


def test_an_undefined_signal_stays_undefined() -> None:
    signals = fake_signals()
    signals["u_f"][1, 2] = torch.nan
    features = dream_features(signals, ("u_f",))
    assert features[1, 2].isnan().all() and torch.isfinite(features[[0, 2]]).all()
