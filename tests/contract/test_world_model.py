"""What every world model keeps. Adding one to ``MAKERS`` is what tests it."""

from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from reverie.core.batch import Batch
from reverie.core.errors import ShapeError, StaleStateError
from reverie.models.api import Noise, Prediction, RolloutState, WorldModel
from tests.support.classic import make_classic_world
from tests.support.dreams import (
    AWKWARD,
    TASKS,
    make_batch,
    make_tokenizer,
    random_frames,
    seeded,
)
from tests.support.dreams import make_world as make_shortcut_world
from tests.support.release import imported

ROWS, CONTEXT_FRAMES = 3, 6


def shortcut(name: str) -> Callable[[], WorldModel]:
    def make() -> WorldModel:
        tokenizer = make_tokenizer(name)
        tokenizer.set_scale(0.6)
        config = replace(
            AWKWARD,
            num_latent_tokens=tokenizer.spec.num_tokens,
            num_latent_channels=tokenizer.spec.num_channels,
            packing=1,
        )
        return make_shortcut_world(config, tokenizer=tokenizer)

    return make


def released(name: str) -> WorldModel:
    world = imported(name, num_flow_steps=4, tasks=TASKS)
    # A short context, so that dreams outgrow it in few steps.
    world.net.config = replace(world.net.config, context=5)
    return world


def classic(num_stacked: int, num_components: int) -> Callable[[], WorldModel]:
    return lambda: make_classic_world(num_stacked=num_stacked, num_components=num_components)


CACHING = (
    "shortcut, conv",
    "shortcut, causal",
    "imported release",
    "imported release without heads",
)
"""Worlds whose states share a cache that moves on."""
MAKERS: dict[str, Callable[[], WorldModel]] = {
    "shortcut, conv": shortcut("conv"),
    "shortcut, causal": shortcut("causal"),
    "imported release": lambda: released("dynamics.pt"),
    "imported release without heads": lambda: released("dynamics_noagent.pt"),
    "classic, one frame": classic(1, 3),
    "classic, stacked frames": classic(3, 1),
}


@pytest.fixture(params=MAKERS.values(), ids=MAKERS.keys())
def world(request: pytest.FixtureRequest) -> WorldModel:
    return request.param()


@pytest.fixture(params=CACHING)
def caching_world(request: pytest.FixtureRequest) -> WorldModel:
    return MAKERS[request.param]()


def context_for(world: WorldModel, *, rows: int = ROWS, count: int = CONTEXT_FRAMES) -> Batch:
    spec = world.tokenizer.frame_spec
    frames = random_frames(spec.height_px, spec.width_px, rows=rows, num_frames=count)
    return make_batch(rows, count, action_width=world.action_width, frames=frames)


def start(world: WorldModel, context: Batch | None = None) -> RolloutState:
    context = context or context_for(world)
    return world.start(
        context, world.draw_context_noise(context.num_rows, context.num_frames, seeded())
    )


def action_at(world: WorldModel, step: int, rows: int = ROWS) -> Tensor:
    return torch.rand((rows, world.action_width), generator=seeded(100 + step)) * 2 - 1


def noise_at(world: WorldModel, step: int, rows: int = ROWS) -> Noise:
    return world.draw_noise(rows, seeded(200 + step))


def dream(
    world: WorldModel, state: RolloutState, steps: int
) -> tuple[RolloutState, list[Prediction]]:
    predictions = []
    for step in range(steps):
        state, prediction = world.step(state, action_at(world, step), noise_at(world, step))
        predictions.append(prediction)
    return state, predictions


def pick(noise: Noise, rows: list[int]) -> Noise:
    return Noise(start=noise.start[rows], commit=noise.commit[rows])


def rounding(world: WorldModel) -> float:
    """Attention gains of up to 100 in released weights amplify the last bits of float32."""
    net = getattr(world, "net", None)
    return 1e-4 if net and net.config.stack.quirks.has_exponential_gains else 1e-5


def assert_same(
    mine: Prediction,
    theirs: Prediction,
    rows: list[int] | None = None,
    *,
    tolerance: float = 1e-5,
) -> None:
    for field in fields(Prediction):
        wanted = getattr(theirs, field.name)
        wanted = wanted if rows is None else wanted[rows]
        assert_close(getattr(mine, field.name), wanted, atol=tolerance, rtol=tolerance)


def bits(prediction: Prediction) -> list[Tensor]:
    return [getattr(prediction, field.name) for field in fields(Prediction)]


def test_predictions_have_the_shapes_and_ranges_of_the_protocol(world: WorldModel) -> None:
    state, predictions = dream(world, start(world), 2)
    spec, prediction = world.latent_spec, predictions[-1]
    size = (spec.num_tokens, spec.num_channels)
    assert prediction.latent.shape == (ROWS, *size)
    assert prediction.trace.shape == (ROWS, world.num_flow_steps, *size)
    assert torch.equal(prediction.trace[:, -1], prediction.latent)
    assert prediction.reward.shape == prediction.continues.shape == (ROWS,)
    assert prediction.features.shape[0] == ROWS
    assert ((prediction.continues >= 0) & (prediction.continues <= 1)).all()
    bound = getattr(world, "latent_limit", 1 / spec.scale)
    assert prediction.trace.abs().max() <= bound * (1 + 1e-6)
    assert all(torch.isfinite(x).all() for x in bits(prediction))
    assert state.num_rows == ROWS
    assert torch.equal(state.latent, prediction.latent)
    assert state.num_frames == min(CONTEXT_FRAMES, world.max_context) + 2
    assert state.task == context_for(world).task


def test_it_shows_frames_of_the_tokenizers_size(world: WorldModel) -> None:
    state, _ = dream(world, start(world), 2)
    shown = world.decode(state)
    assert shown.shape == (ROWS, *world.tokenizer.frame_spec.shape)
    assert shown.dtype == torch.uint8
    assert torch.equal(world.decode(state), shown)


def test_a_step_is_pure_the_same_state_action_and_noise_give_the_same_bits(
    world: WorldModel,
) -> None:
    state, _ = dream(world, start(world), 2)
    once, again = state.fork(1), state.fork(1)
    first = world.step(once, action_at(world, 9), noise_at(world, 9))
    torch.manual_seed(99)
    second = world.step(again, action_at(world, 9), noise_at(world, 9))
    for mine, theirs in zip(bits(first[1]), bits(second[1]), strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(world.decode(first[0]), world.decode(second[0]))


def test_the_global_generator_is_neither_read_nor_moved(world: WorldModel) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    state, _ = dream(world, start(world), 1)
    world.decode(state)
    assert torch.equal(torch.get_rng_state(), before)


def test_action_and_noise_matter(world: WorldModel) -> None:
    state = start(world)
    base = world.step(state.fork(1), action_at(world, 0), noise_at(world, 0))[1].latent
    acted = world.step(state.fork(1), -action_at(world, 0), noise_at(world, 0))[1].latent
    drawn = world.step(state.fork(1), action_at(world, 0), noise_at(world, 1))[1].latent
    assert not torch.allclose(base, acted, atol=1e-6)
    assert not torch.allclose(base, drawn, atol=1e-6)


def test_forked_rows_dream_as_if_alone(world: WorldModel) -> None:
    copies = 2
    state, _ = dream(world, start(world), 2)
    branches = state.fork(copies)
    assert branches.num_rows == copies * ROWS
    plain = [state.fork(1) for _ in range(copies)]
    for step in range(2 * world.max_context):
        actions = [action_at(world, 50 + copies * step + copy) for copy in range(copies)]
        together = torch.stack(actions, dim=1).flatten(0, 1)
        noise = noise_at(world, 50 + step)
        branches, got = world.step(branches, together, noise.fork(copies))
        for copy in range(copies):
            plain[copy], alone = world.step(plain[copy], actions[copy], noise)
            rows = [row * copies + copy for row in range(ROWS)]
            assert_same(alone, got, rows, tolerance=rounding(world))


def test_a_row_dreams_alone_as_in_company_and_in_any_order(world: WorldModel) -> None:
    state, _ = dream(world, start(world), 2)
    order = [2, 0, 1]
    for rows in (order, [1]):
        mine, theirs = state.select(rows), state.fork(1)
        assert mine.task == tuple(state.task[row] for row in rows)
        for step in range(world.max_context + 1):
            action, noise = action_at(world, step), noise_at(world, step)
            theirs, wanted = world.step(theirs, action, noise)
            mine, got = world.step(mine, action[rows], pick(noise, rows))
            assert_same(got, wanted, rows, tolerance=rounding(world))
        assert (world.decode(mine).int() - world.decode(theirs)[rows].int()).abs().max() <= 1


def test_a_state_steps_once_and_the_error_says_to_fork(caching_world: WorldModel) -> None:
    world = caching_world
    state = start(world)
    world.step(state.fork(1), action_at(world, 0), noise_at(world, 0))
    after, _ = world.step(state, action_at(world, 0), noise_at(world, 0))
    with pytest.raises(StaleStateError, match=r"call fork\(\) before"):
        world.step(state, action_at(world, 1), noise_at(world, 1))
    world.step(after, action_at(world, 1), noise_at(world, 1))


def test_a_state_one_step_old_can_still_be_forked_and_goes_on_rightly(
    caching_world: WorldModel,
) -> None:
    world = caching_world
    state, _ = dream(world, start(world), world.max_context + 1)
    wanted = world.step(state.fork(1), action_at(world, 30), noise_at(world, 30))[1]
    newer, _ = world.step(state, action_at(world, 31), noise_at(world, 31))
    got = world.step(state.fork(1), action_at(world, 30), noise_at(world, 30))[1]
    for mine, theirs in zip(bits(got), bits(wanted), strict=True):
        assert torch.equal(mine, theirs)
    world.step(newer, action_at(world, 32), noise_at(world, 32))
    with pytest.raises(StaleStateError):
        state.fork(2)


def test_only_the_newest_frames_of_a_long_context_are_used(world: WorldModel) -> None:
    context = context_for(world, count=world.max_context + 4)
    noise = world.draw_context_noise(ROWS, context.num_frames, seeded())
    cut = context.slice_time(4, context.num_frames)
    long, short = world.start(context, noise), world.start(cut, noise[:, 4:])
    assert long.num_frames == short.num_frames == world.max_context
    for mine, theirs in zip(*(bits(dream(world, x, 2)[1][-1]) for x in (long, short)), strict=True):
        assert torch.equal(mine, theirs)


def test_a_dream_can_start_from_a_single_frame(world: WorldModel) -> None:
    state = start(world, context_for(world, count=1))
    _, predictions = dream(world, state, world.max_context + 2)
    assert all(torch.isfinite(x).all() for x in bits(predictions[-1]))


def test_junk_in_masked_action_lanes_changes_nothing(world: WorldModel) -> None:
    context = context_for(world)
    context.action_mask[:, -1] = 0.0
    junk = replace(context, prev_actions=context.prev_actions.clone())
    junk.prev_actions[:, :, -1] = 5.0
    states = [start(world, x) for x in (context, junk)]
    for step in range(2):
        clean = action_at(world, step)
        dirty = clean.clone()
        dirty[:, -1] = -7.0
        pairs = [
            world.step(state, action, noise_at(world, step))
            for state, action in zip(states, (clean, dirty), strict=True)
        ]
        states = [pair[0] for pair in pairs]
        for mine, theirs in zip(bits(pairs[0][1]), bits(pairs[1][1]), strict=True):
            assert torch.equal(mine, theirs)


def test_native_actions_are_padded_and_wider_ones_refused(world: WorldModel) -> None:
    state, narrow = start(world), action_at(world, 0)[:, :2]
    padded = torch.nn.functional.pad(narrow, (0, world.action_width - 2))
    got = world.step(state.fork(1), narrow, noise_at(world, 0))[1]
    wanted = world.step(state.fork(1), padded, noise_at(world, 0))[1]
    assert torch.equal(got.latent, wanted.latent)
    with pytest.raises(ShapeError, match=f"up to {world.action_width} lanes, got"):
        wide = torch.zeros(ROWS, world.action_width + 1)
        world.step(state, wide, noise_at(world, 0))


def test_the_noise_of_one_frame_follows_its_generator_only(world: WorldModel) -> None:
    first, second = (world.draw_noise(2, seeded(4)) for _ in range(2))
    assert torch.equal(first.start, second.start) and torch.equal(first.commit, second.commit)
    assert not torch.equal(first.start, first.commit)
    spec = world.latent_spec
    context = world.draw_context_noise(2, 500, seeded(4))
    assert context.shape == (2, 500, spec.num_tokens, spec.num_channels)
    assert abs(float(context.std()) - 1) < 0.03


def test_it_names_its_tasks_and_sizes(world: WorldModel) -> None:
    assert world.tasks == TASKS
    assert world.latent_spec == world.tokenizer.spec
    assert world.max_context >= 1 and world.action_width >= 1
    assert world.device == torch.device("cpu")


def test_a_context_without_pictures_is_refused(world: WorldModel) -> None:
    context = replace(context_for(world), frames=None)
    with pytest.raises(ShapeError, match="starts from real frames"):
        start(world, context)
