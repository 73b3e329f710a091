"""What every gauge keeps, whatever it measures."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from reverie.core.errors import ConfigError, UnknownNameError
from reverie.evaluate.clips import cut_clips
from reverie.evaluate.rollout import ClipNoise
from reverie.hallucination.gauges import ReadingSet, gauge_names, make_gauge
from reverie.hallucination.predictors import probe_noise
from reverie.models.api import Noise, StepContext
from tests.support.small_world import SIDE_PX, make_small_world
from tests.support.worlds import (
    PixelTokenizer,
    PlainState,
    RuleWorld,
    colour_episode,
    noisy_rule,
    still_rule,
)

MOTION = {"toy-paint": 0.05, "toy-fall": 0.2}
TASKS = ("toy-paint", "toy-fall", "toy-paint")


def make_world(*, scale: float = 1.0) -> RuleWorld:
    return RuleWorld(noisy_rule, tokenizer=PixelTokenizer(scale=scale, keep=0.9))


def make_step(world: RuleWorld, *, rows: int = 3, noise: Noise | None = None) -> StepContext:
    rng = torch.Generator().manual_seed(3)
    size = (rows, world.latent_spec.num_tokens, world.latent_spec.num_channels)
    state = PlainState(latent=torch.rand(size, generator=rng), num_frames=8, task=TASKS[:rows])
    action = torch.rand((rows, 3), generator=rng)
    after, prediction = world.step(state, action, noise or world.draw_noise(rows, rng))
    return StepContext(before=state, action=action, prediction=prediction, after=after)


def select(step: StepContext, rows: list[int]) -> StepContext:
    prediction = copy.copy(step.prediction)
    for name in ("latent", "reward", "continues", "features", "trace"):
        object.__setattr__(prediction, name, getattr(step.prediction, name)[rows])
    return StepContext(
        before=step.before.select(rows),
        action=step.action[rows],
        prediction=prediction,
        after=step.after.select(rows),
    )


@pytest.mark.parametrize("name", gauge_names())
def test_a_gauge_gives_one_finite_reading_a_row(name: str) -> None:
    world = make_world()
    reading = make_gauge(name, motion=MOTION)(world, make_step(world))
    assert reading.shape == (3,)
    assert torch.isfinite(reading).all() and (reading > 0).all()


@pytest.mark.parametrize("name", gauge_names())
def test_permuted_rows_give_permuted_readings(name: str) -> None:
    world, gauge = make_world(), make_gauge(name, motion=MOTION)
    step = make_step(world)
    whole = gauge(world, step)
    assert torch.equal(gauge(world, select(step, [2, 0, 1])), whole[[2, 0, 1]])
    assert len(set(whole.tolist())) == 3


@pytest.mark.parametrize("name", gauge_names())
def test_a_batch_reads_like_its_rows_alone(name: str) -> None:
    world, gauge = make_world(), make_gauge(name, motion=MOTION)
    step = make_step(world)
    alone = torch.cat([gauge(world, select(step, [row])) for row in range(3)])
    torch.testing.assert_close(gauge(world, step), alone)


@pytest.mark.parametrize("name", gauge_names())
def test_reading_changes_neither_the_state_nor_later_steps(name: str) -> None:
    world, gauge = make_world(), make_gauge(name, motion=MOTION)
    step = make_step(world)
    noise = world.draw_noise(3, torch.Generator().manual_seed(9))
    before, after = step.before.latent.clone(), step.after.latent.clone()
    later, _ = world.step(step.after, step.action, noise)
    first, second = gauge(world, step), gauge(world, step)
    again, _ = world.step(step.after, step.action, noise)
    assert torch.equal(first, second)
    assert torch.equal(step.before.latent, before) and torch.equal(step.after.latent, after)
    assert torch.equal(later.latent, again.latent)


@pytest.mark.parametrize("name", gauge_names())
def test_scaling_all_latents_scales_raw_readings_and_leaves_normalised_ones(name: str) -> None:
    step = make_step(make_world())
    small, large = make_world(scale=1.0), make_world(scale=4.0)
    motion = {task: 4 * value for task, value in MOTION.items()}
    one = make_gauge(name, motion=MOTION)(small, step)
    four = make_gauge(name, motion=motion)(large, step)
    torch.testing.assert_close(four, one if "/" in name else 4 * one)


@pytest.mark.parametrize("name", gauge_names())
def test_read_together_equals_read_alone(name: str) -> None:
    world = make_world()
    step = make_step(world)
    together = ReadingSet(names=gauge_names(), motion=MOTION).take(world, step)
    assert torch.equal(together[name], make_gauge(name, motion=MOTION)(world, step))


def test_an_identity_tokenizer_leaves_no_residual() -> None:
    world = RuleWorld(noisy_rule)
    assert torch.equal(make_gauge("u_r")(world, make_step(world)), torch.zeros(3))


def test_a_constant_trace_has_no_instability() -> None:
    world = RuleWorld(still_rule)
    assert torch.equal(make_gauge("u_f")(world, make_step(world)), torch.zeros(3))


def test_equal_noises_have_no_dispersion() -> None:
    world = make_world()
    noise = probe_noise(world, frame_index=8, num_rows=3, num_seeds=1)
    assert torch.equal(make_gauge("u_s")(world, make_step(world, noise=noise)), torch.zeros(3))
    assert (make_gauge("u_s")(world, make_step(world)) > 0.01).all()


def test_a_dispersion_of_more_seeds_estimates_the_same_spread() -> None:
    # Samples are 0.2 * noise around a common goal: the true spread is 0.2 in every entry.
    world = RuleWorld(noisy_rule)
    reading = make_gauge("u_s", num_seeds=64)(world, make_step(world))
    torch.testing.assert_close(reading, torch.full((3,), 0.2), atol=0.01, rtol=0)


def test_noises_of_other_frames_differ() -> None:
    world = make_world()
    first = probe_noise(world, frame_index=8, num_rows=2, num_seeds=2)
    second = probe_noise(world, frame_index=9, num_rows=2, num_seeds=2)
    assert not torch.equal(first.start, second.start)
    assert torch.equal(first.start[:2], first.start[2:])
    assert not torch.equal(first.start[0], first.start[1])


def test_one_seed_and_one_substep_are_undefined() -> None:
    world = make_world()
    step = make_step(world)
    assert make_gauge("u_s", num_seeds=1)(world, step).isnan().all()
    short = copy.copy(step.prediction)
    object.__setattr__(short, "trace", step.prediction.trace[:, :1])
    single = StepContext(before=step.before, action=step.action, prediction=short, after=step.after)
    assert make_gauge("u_f")(world, single).isnan().all()


@pytest.mark.parametrize(
    ("name", "text"),
    [("u_q", "Unknown gauge 'u_q'"), ("u_r/flored", "Did you mean 'u_r/floored'"), ("m/step", "m")],
)
def test_an_unknown_gauge_is_refused(name: str, text: str) -> None:
    with pytest.raises((UnknownNameError, ConfigError), match=text):
        make_gauge(name, motion=MOTION)


def test_a_normaliser_without_motion_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs the motion of real data per task"):
        make_gauge("u_r/floored")
    world = make_world()
    with pytest.raises(ConfigError, match="motion of real 'toy-paint' data is not known"):
        make_gauge("u_r/task", motion={"toy-fall": 0.1})(world, make_step(world))


def dream_with_the_shortcut_world(
    rows: list[int], *, reads: bool
) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """Dream 12 frames, past the end of the ring, reading every gauge at each if asked to."""
    world = make_small_world()
    episodes = [
        replace(colour_episode(seed), frames=colour_frames(seed, SIDE_PX)) for seed in range(3)
    ]
    clips = cut_clips(episodes, action_width=3, num_per_episode=1, num_frames=20)
    batch = clips.batch.select(rows)
    noises = ClipNoise.draw(world, rows, 8, 12, seed=0)
    readings = ReadingSet(names=gauge_names(), motion=MOTION)
    state = world.start(batch.slice_time(0, 8), noises.context)
    latents, taken = [], {}
    for index, noise in enumerate(noises.steps):
        action = batch.prev_actions[:, 8 + index]
        before = state
        state, prediction = world.step(before, action, noise)
        latents.append(prediction.latent)
        if reads:
            step = StepContext(before=before, action=action, prediction=prediction, after=state)
            taken = readings.take(world, step)
    return latents, taken


def colour_frames(seed: int, side_px: int) -> np.ndarray:
    return colour_episode(seed).frames[:, :1, :1].repeat(side_px, 1).repeat(side_px, 2)


def test_reading_every_gauge_leaves_a_shortcut_dream_bit_identical() -> None:
    plain, _ = dream_with_the_shortcut_world([0, 1, 2], reads=False)
    read, taken = dream_with_the_shortcut_world([0, 1, 2], reads=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, read, strict=True))
    assert all(torch.isfinite(values).all() for values in taken.values())


def test_rows_of_a_shortcut_dream_read_as_if_alone() -> None:
    _, together = dream_with_the_shortcut_world([0, 1, 2], reads=True)
    for row in range(3):
        _, alone = dream_with_the_shortcut_world([row], reads=True)
        for name, values in alone.items():
            torch.testing.assert_close(values, together[name][[row]], atol=1e-5, rtol=1e-4)
