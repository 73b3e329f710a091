"""Laws of the shortcut transformer's dreams beyond what every world model keeps."""

import copy
import hashlib
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from reverie.core.batch import Batch
from reverie.core.errors import ConfigError
from reverie.models.api import Prediction
from reverie.models.dynamics.net import DynamicsConfig, FrameInputs
from reverie.models.dynamics.shortcut import Labels
from reverie.models.dynamics.world import DreamState, ShortcutWorld
from reverie.nn.blocks import banded_mask
from reverie.nn.kv_cache import Ring
from reverie.nn.recorded import CALLS_BEFORE
from tests.support.dreams import (
    ALL_ONE,
    AWKWARD,
    SIZES,
    make_batch,
    make_tokenizer,
    make_world,
    random_latents,
    seeded,
)
from tests.support.tapes import OverwritingTape

ROWS = 3
CPU = torch.device("cpu")


def start(
    world: ShortcutWorld, *, rows: int = ROWS, count: int = 3, batch: Batch | None = None
) -> DreamState:
    config = world.net.config
    batch = batch or make_batch(rows, count, action_width=config.action_width)
    latents = random_latents(config, rows, count)
    return world.start_from_latents(latents, batch, random_latents(config, rows, count, seed=1))


def action_at(world: ShortcutWorld, step: int, rows: int = ROWS) -> Tensor:
    return torch.rand((rows, world.action_width), generator=seeded(100 + step)) * 2 - 1


def tensors_of(state: Any) -> list[Tensor]:
    """Every tensor that a state keeps alive."""
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, Ring):
        return [state.keys, state.values]
    if is_dataclass(state):
        parts = (getattr(state, field.name) for field in fields(state))
        return [tensor for part in parts for tensor in tensors_of(part)]
    return []


@pytest.mark.parametrize("config", SIZES.values(), ids=SIZES.keys())
def test_a_dream_through_the_ring_equals_one_pass_over_its_whole_history(
    config: DynamicsConfig,
) -> None:
    """Features of every frame and the first clean estimate of the last, for 3 C frames."""
    world, rng, before = make_world(config), seeded(2), 1 if config is ALL_ONE else 3
    rows = 1 if config is ALL_ONE else ROWS
    batch = make_batch(rows, before, action_width=config.action_width)
    noises = [random_latents(config, rows, before, seed=1)]
    latents = [random_latents(config, rows, before)]
    state = world.start_from_latents(latents[0], batch, noises[0])
    actions, features, noise = [batch.prev_actions], [], None
    for step in range(3 * config.context):
        action, noise = action_at(world, step, rows), world.draw_noise(rows, rng)
        state, prediction = world.step(state, action, noise)
        latents.append(prediction.latent[:, None])
        noises.append(noise.commit[:, None])
        actions.append(action[:, None])
        features.append(prediction.features)
    clean, count = torch.cat(latents, dim=1), before + 3 * config.context
    told = torch.ones(rows, count, dtype=torch.bool)
    told[:, :before] = ~batch.is_first
    inputs = FrameInputs(torch.cat(actions, dim=1), told, state.language)
    level = torch.full((rows, count), config.commit_level)
    exponent = torch.full_like(level, config.shortcut.finest_exponent)
    noisy = world.flow.corrupt(clean, torch.cat(noises, dim=1), level)
    mask = banded_mask(count, config.context, CPU)
    with torch.no_grad():
        _, agents, _ = world.net(noisy, Labels(level, exponent), inputs, mask)
        assert_close(
            agents.mean(dim=2)[:, before:], torch.stack(features, dim=1), atol=1e-5, rtol=1e-5
        )
        assert noise is not None
        noisy[:, -1], level[:, -1] = noise.start, 0
        exponent[:, -1] = world.num_flow_steps.bit_length() - 1
        first, _, _ = world.net(noisy, Labels(level, exponent), inputs, mask)
    limit = world.latent_limit
    assert_close(first[:, -1].clamp(-limit, limit), prediction.trace[:, 0], atol=1e-5, rtol=1e-5)


def test_a_frame_costs_k_plus_one_forwards_and_only_the_last_one_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = make_world()
    state = start(world)
    inner, hashes = world.net.step, []

    def fingerprint() -> str:
        ring = state.cache.ring
        return hashlib.sha256(
            ring.keys.numpy().tobytes() + ring.values.numpy().tobytes()
        ).hexdigest()

    def step(*args: Any) -> Any:
        hashes.append((fingerprint(), int(args[1].signal_level[0, 0])))
        return inner(*args)

    before = fingerprint()
    monkeypatch.setattr(world.net, "step", step)
    world.step(state, action_at(world, 0), world.draw_noise(ROWS, seeded()))
    assert [level for _, level in hashes] == [0, 2, 4, 6, AWKWARD.commit_level]
    assert {value for value, _ in hashes} == {before}
    assert fingerprint() != before


def test_memory_does_not_grow_with_the_dream() -> None:
    world, rng, sizes = make_world(ALL_ONE), seeded(), []
    long = make_world(replace(AWKWARD, num_flow_steps=1))
    for dreamer, steps in ((world, 300), (long, 40)):
        state, shapes = start(dreamer, rows=1), []
        for step in range(steps):
            noise = dreamer.draw_noise(1, rng)
            state, _ = dreamer.step(state, action_at(dreamer, step % 7, 1), noise)
            shapes.append(tuple(tensor.shape for tensor in tensors_of(state)))
        sizes.append(set(shapes[2 * dreamer.max_context :]))
    assert [len(x) for x in sizes] == [1, 1]


def test_forks_share_their_past() -> None:
    world = make_world()
    state = start(world)
    forked = state.fork(40)
    assert forked.cache.shared is not None
    assert forked.cache.shared.keys.shape[1] == ROWS


def test_another_instruction_changes_features_and_no_latent() -> None:
    world = make_world()
    batches = [
        replace(make_batch(ROWS, 3), language=torch.randn((ROWS, 7), generator=seeded(seed)))
        for seed in (1, 2)
    ]
    states = [start(world, batch=batch) for batch in batches]
    rng = seeded(3)
    for step in range(2 * world.max_context):
        noise = world.draw_noise(ROWS, rng)
        pairs = [world.step(state, action_at(world, step), noise) for state in states]
        states = [pair[0] for pair in pairs]
        first, second = (pair[1] for pair in pairs)
        assert torch.equal(first.trace, second.trace)
        assert not torch.allclose(first.features, second.features, atol=1e-4)
        assert not torch.allclose(first.reward, second.reward, atol=1e-6)


def test_the_task_is_the_instruction_where_none_is_given() -> None:
    world = make_world()
    batch = make_batch(ROWS, 3)
    swapped = replace(batch, task=("toy-paint", "toy-paint", "toy-fall"))
    noise = world.draw_noise(ROWS, seeded())
    first, second = (
        world.step(start(world, batch=x), action_at(world, 0), noise)[1] for x in (batch, swapped)
    )
    assert torch.equal(first.latent, second.latent)
    assert torch.equal(first.features[1], second.features[1])
    assert not torch.allclose(first.features[0], second.features[0], atol=1e-4)


def test_tasks_without_an_end_always_go_on() -> None:
    world = make_world(terminating=("toy-fall",))
    state = start(world)
    assert state.task == ("toy-fall", "toy-paint", "toy-fall")
    _, prediction = world.step(state, action_at(world, 0), world.draw_noise(ROWS, seeded()))
    assert prediction.continues[1] == 1.0
    assert (prediction.continues[[0, 2]] < 1.0).all()


def test_a_net_without_agents_dreams_without_rewards() -> None:
    world = make_world(replace(AWKWARD, num_agents=0))
    _, prediction = world.step(start(world), action_at(world, 0), world.draw_noise(ROWS, seeded()))
    assert not prediction.reward.any() and (prediction.continues == 1).all()
    assert prediction.features.shape == (ROWS, 30)


def test_dreamt_latents_stay_in_the_box() -> None:
    world = make_world()
    with torch.no_grad():
        world.net.flow_head.weight.mul_(100.0)
    _, prediction = world.step(start(world), action_at(world, 0), world.draw_noise(ROWS, seeded()))
    assert float(prediction.trace.abs().max()) == pytest.approx(1 / 0.4)


def test_the_state_keeps_as_many_latents_as_the_decoder_looks_back_at() -> None:
    tokenizer = make_tokenizer("causal")
    assert tokenizer.memory_frames == 3
    config = replace(AWKWARD, num_latent_tokens=5, num_latent_channels=3, packing=1)
    world, rng = make_world(config, tokenizer=tokenizer), seeded()
    state, latents = start(world, rows=2), [random_latents(config, 2, 3)]
    for step in range(6):
        state, prediction = world.step(state, action_at(world, step, 2), world.draw_noise(2, rng))
        latents.append(prediction.latent[:, None])
    assert state.recent.shape[1] == tokenizer.memory_frames
    whole, _ = tokenizer.decode(torch.cat(latents, dim=1))
    assert (world.decode(state).int() - whole[:, -1].int()).abs().max() <= 1
    assert state.fork(2).recent.shape[0] == 4


def test_first_frames_are_entered_without_their_action() -> None:
    world, batch = make_world(), make_batch(ROWS, 3)
    junk = replace(batch, prev_actions=batch.prev_actions.clone())
    junk.prev_actions[batch.is_first] = 9.0
    noise = world.draw_noise(ROWS, seeded())
    first, second = (
        world.step(start(world, batch=x), action_at(world, 0), noise)[1] for x in (batch, junk)
    )
    assert torch.equal(first.latent, second.latent)


@pytest.mark.parametrize("config", SIZES.values(), ids=SIZES.keys())
def test_recorded_forwards_dream_the_same_frames(config: DynamicsConfig) -> None:
    """Past a full ring, over forks and selections, at two numbers of substeps."""
    plain, tape = make_world(config), OverwritingTape()
    recorded = copy.deepcopy(plain)
    recorded.record(tape)
    rows = 1 if config is ALL_ONE else ROWS
    states = [start(world, rows=rows, count=2) for world in (plain, recorded)]
    kept: list[tuple[Prediction, Prediction]] = []
    for step in range(2 * config.context + 16):
        if step == config.context + 8:
            states = [state.fork(2).select([0, 1]) for state in states]
        rows = states[0].num_rows
        noise = plain.draw_noise(rows, seeded(step))
        action = action_at(plain, step, rows)
        pairs = [
            world.step(state, action, noise)
            for world, state in zip((plain, recorded), states, strict=True)
        ]
        states = [state for state, _ in pairs]
        kept.append((pairs[0][1], pairs[1][1]))
    assert 0 < tape.num_recorded < tape.num_replayed
    for one, two in kept:
        for name in ("latent", "reward", "continues", "features", "trace"):
            assert_close(getattr(one, name), getattr(two, name), rtol=1e-5, atol=1e-6)


def test_a_converted_model_forgets_its_recordings() -> None:
    world, tape = make_world(AWKWARD), OverwritingTape()
    world.record(tape)

    def dream() -> int:
        for _ in range(CALLS_BEFORE):
            world.step(start(world), action_at(world, 0), world.draw_noise(ROWS, seeded(0)))
        return tape.num_recorded + tape.num_replayed

    used = dream()
    assert used > 0
    world.to(torch.float32)
    assert dream() == used


def test_graphs_without_a_gpu_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="on a GPU, this one is on 'cpu'"):
        make_world(AWKWARD).record()
