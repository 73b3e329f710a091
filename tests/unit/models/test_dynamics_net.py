from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from reverie.core.errors import ConfigError
from reverie.models.dynamics.net import DynamicsConfig, DynamicsNet, FrameInputs
from reverie.models.dynamics.shortcut import Labels
from reverie.nn.attention import KeysValues
from reverie.nn.blocks import StackConfig, banded_mask
from reverie.nn.kv_cache import Cache
from tests.support.dreams import ALL_ONE, AWKWARD, SIZES, make_net, random_latents, seeded

CPU = torch.device("cpu")
ROWS, FRAMES = 2, 9


def inputs_for(config: DynamicsConfig, rows: int = ROWS, count: int = FRAMES) -> FrameInputs:
    rng = seeded(8)
    return FrameInputs(
        torch.rand((rows, count, config.action_width), generator=rng) * 2 - 1,
        torch.rand((rows, count), generator=rng) < 0.8,
        torch.randn((rows, config.language_dim), generator=rng),
    )


def labels_for(config: DynamicsConfig, rows: int = ROWS, count: int = FRAMES) -> Labels:
    rng, grid = seeded(9), config.shortcut
    return Labels(
        torch.randint(0, grid.num_levels, (rows, count), generator=rng),
        torch.randint(0, grid.finest_exponent + 1, (rows, count), generator=rng),
    )


@torch.no_grad()
def run(
    net: DynamicsNet,
    noisy: Tensor,
    *,
    inputs: FrameInputs | None = None,
    labels: Labels | None = None,
) -> tuple[Tensor, Tensor, list[KeysValues]]:
    config, (rows, count) = net.config, noisy.shape[:2]
    mask = banded_mask(count, config.context, CPU)
    labels = labels or labels_for(config, rows, count)
    return net(noisy, labels, inputs or inputs_for(config, rows, count), mask)


@pytest.mark.parametrize("config", SIZES.values(), ids=SIZES.keys())
def test_shapes_follow_the_config(config: DynamicsConfig) -> None:
    net = make_net(config)
    count = 1 if config is ALL_ONE else FRAMES
    noisy = random_latents(config, count, count)
    clean, agents, past = run(net, noisy)
    assert clean.shape == noisy.shape
    assert agents.shape == (count, count, config.num_agents, config.stack.width)
    assert len(past) == config.stack.num_time_layers
    assert past[0].keys.shape[:3] == (count, config.num_tokens, count)
    assert sum(x.numel() for x in net.parameters()) == config.num_parameters


def test_the_first_prediction_is_exactly_zero() -> None:
    clean, _, _ = run(make_net(is_stirred=False), random_latents(AWKWARD, ROWS, FRAMES))
    assert not clean.any()


def test_junk_in_the_agent_tokens_changes_no_latent_bit_for_bit() -> None:
    net, noisy = make_net(), random_latents(AWKWARD, ROWS, FRAMES)
    clean, agents, past = run(net, noisy)
    with torch.no_grad():
        net.agent_base.copy_(1e3 * torch.randn(net.agent_base.shape, generator=seeded(1)))
        net.agent_language.mul_(-50.0)
    after, other_agents, other_past = run(net, noisy)
    assert torch.equal(clean, after)
    assert not torch.allclose(agents, other_agents)
    real = slice(0, AWKWARD.num_tokens - AWKWARD.num_agents)
    for mine, theirs in zip(past, other_past, strict=True):
        assert torch.equal(mine.keys[:, real], theirs.keys[:, real])
        assert torch.equal(mine.values[:, real], theirs.values[:, real])


def test_agents_see_every_kind_of_token() -> None:
    net = make_net(replace(AWKWARD, stack=replace(AWKWARD.stack, depth=2)))
    noisy = random_latents(AWKWARD, ROWS, 1)
    base = run(net, noisy)[1]
    inputs, labels = inputs_for(AWKWARD, ROWS, 1), labels_for(AWKWARD, ROWS, 1)
    told = FrameInputs(inputs.actions + 1, torch.ones(ROWS, 1).bool(), inputs.language)
    level = Labels((labels.signal_level + 1) % 8, labels.step_exponent)
    exponent = Labels(labels.signal_level, (labels.step_exponent + 1) % 4)
    for kinds in ({"inputs": told}, {"labels": level}, {"labels": exponent}):
        assert not torch.allclose(run(net, noisy, **kinds)[1], base, atol=1e-4)  # type: ignore[arg-type]
    assert not torch.allclose(run(net, noisy + 1)[1], base, atol=1e-4)


def test_a_later_frame_changes_nothing_before_it_and_the_band_ends_where_it_should() -> None:
    net, noisy = make_net(), random_latents(AWKWARD, ROWS, FRAMES)
    inputs, labels = inputs_for(AWKWARD), labels_for(AWKWARD)
    clean, agents, _ = run(net, noisy, inputs=inputs, labels=labels)
    changed = noisy.clone()
    changed[:, 5] += 3.0
    actions = inputs.actions.clone()
    actions[:, 5] *= -1
    level = labels.signal_level.clone()
    level[:, 5] = (level[:, 5] + 3) % 8
    other = run(
        net,
        changed,
        inputs=FrameInputs(actions, inputs.has_action, inputs.language),
        labels=Labels(level, labels.step_exponent),
    )
    assert torch.equal(clean[:, :5], other[0][:, :5])
    assert torch.equal(agents[:, :5], other[1][:, :5])
    assert not torch.allclose(clean[:, 6], other[0][:, 6], atol=1e-5)


def test_where_nothing_was_done_the_action_is_not_read() -> None:
    net, noisy = make_net(), random_latents(AWKWARD, ROWS, FRAMES)
    inputs = inputs_for(AWKWARD)
    junk = torch.where(inputs.has_action[..., None], inputs.actions, torch.tensor(9.0))
    clean, _, _ = run(net, noisy, inputs=inputs)
    other, _, _ = run(net, noisy, inputs=replace_actions(inputs, junk))
    assert torch.equal(clean, other)
    assert not torch.allclose(run(net, noisy, inputs=replace_actions(inputs, -junk))[0], clean)


@pytest.mark.parametrize("config", SIZES.values(), ids=SIZES.keys())
def test_steps_through_the_ring_equal_one_pass_with_the_band(config: DynamicsConfig) -> None:
    net, count = make_net(config), 3 * config.context + 2
    noisy = random_latents(config, ROWS, count)
    inputs, labels = inputs_for(config, ROWS, count), labels_for(config, ROWS, count)
    clean, agents, _ = run(net, noisy, inputs=inputs, labels=labels)
    first = FrameInputs(inputs.actions[:, :1], inputs.has_action[:, :1], inputs.language)
    start = Labels(labels.signal_level[:, :1], labels.step_exponent[:, :1])
    _, _, past = run(net, noisy[:, :1], inputs=first, labels=start)
    cache = Cache.from_window(past, config.context)
    for time in range(1, count):
        now = slice(time, time + 1)
        told = FrameInputs(inputs.actions[:, now], inputs.has_action[:, now], inputs.language)
        label = Labels(labels.signal_level[:, now], labels.step_exponent[:, now])
        with torch.no_grad():
            got = net.step(noisy[:, time], label, net.prepare(told, *cache.blocks()))
        cache = cache.commit(got[2])
        assert_close(got[0], clean[:, time], atol=1e-5, rtol=1e-5)
        assert_close(got[1], agents[:, time], atol=1e-5, rtol=1e-5)


def wide_net() -> DynamicsNet:
    stack = StackConfig(width=128, depth=4, num_heads=4, num_kv_heads=4, time_every=2)
    return make_net(
        replace(AWKWARD, stack=stack, language_dim=64, action_width=16, num_latent_channels=16)
    )


def test_at_the_start_every_type_of_token_has_one_size_and_one_gradient() -> None:
    """Embeddings at 0.02 beside tokens at 1 gave 50 times the gradient, and spikes (OD)."""
    net = wide_net()
    seen: list[Tensor] = []

    def keep(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        tokens = args[0].detach().requires_grad_()
        seen.append(tokens)
        return (tokens, *args[1:])

    net.stack.register_forward_pre_hook(keep)
    config = net.config
    noisy, target = random_latents(config, 8, 6), random_latents(config, 8, 6, seed=1)
    mask = banded_mask(6, config.context, CPU)
    clean, agents, _ = net(noisy, labels_for(config, 8, 6), inputs_for(config, 8, 6), mask)
    ((clean - target).square().mean() + agents.square().mean()).backward()
    gradient = seen[0].grad
    assert gradient is not None
    places = net.token_types()
    sizes = {name: float(rms(seen[0].detach()[:, :, where])) for name, where in places.items()}
    slopes = {name: float(rms(gradient[:, :, where])) for name, where in places.items()}
    assert all(0.7 < size < 1.5 for size in sizes.values()), sizes
    assert all(slope < 5 * slopes["spatial"] for slope in slopes.values()), slopes


def test_token_types_cover_the_frame_in_order() -> None:
    places = make_net().token_types()
    assert list(places) == ["action", "label", "spatial", "register", "agent"]
    covered = [index for where in places.values() for index in range(where.start, where.stop)]
    assert covered == list(range(AWKWARD.num_tokens))


def test_packing_joins_neighbouring_latents() -> None:
    net = make_net()
    seen: list[Tensor] = []
    net.spatial_in.register_forward_hook(lambda *args: seen.append(args[1][0]))
    noisy = random_latents(AWKWARD, ROWS, FRAMES)
    run(net, noisy)
    assert torch.equal(seen[0][0, 0, 1], torch.cat([noisy[0, 0, 2], noisy[0, 0, 3]]))


def test_there_is_no_embedding_for_a_clean_frame() -> None:
    net, levels = make_net(), torch.full((ROWS, FRAMES), AWKWARD.shortcut.num_levels)
    with pytest.raises(IndexError):
        run(net, random_latents(AWKWARD, ROWS, FRAMES), labels=Labels(levels, levels * 0))


def test_low_precision_loses_less_than_one_percent() -> None:
    net = wide_net()
    noisy, target = random_latents(net.config, 8, 6), random_latents(net.config, 8, 6, seed=1)

    def loss() -> float:
        return float((run(net, noisy)[0].float() - target).square().mean())

    full = loss()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = loss()
    assert low == pytest.approx(full, rel=0.01)


def test_without_an_instruction_the_task_is_told_by_its_number() -> None:
    net = make_net()
    rows = net.language_of(("toy-paint", "new-task", "toy-fall"), None, CPU)
    assert rows.argmax(dim=1).tolist() == [1, 0, 0]
    assert rows.sum(dim=1).tolist() == [1.0, 0.0, 1.0]
    given = torch.randn(3, 7)
    assert torch.equal(net.language_of(("a", "b", "c"), given, CPU), given)


def test_every_parameter_takes_part() -> None:
    net = make_net()
    noisy = random_latents(AWKWARD, ROWS, FRAMES)
    mask = banded_mask(FRAMES, AWKWARD.context, CPU)
    clean, agents, _ = net(noisy, labels_for(AWKWARD), inputs_for(AWKWARD), mask)
    (clean.square().mean() + agents.square().mean()).backward()
    silent = [key for key, x in net.named_parameters() if x.grad is None or not x.grad.any()]
    assert silent == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"packing": 4}, "got 4 and 6"),
        ({"commit_level": 8}, "between 1 and 7, got 8. Try 7"),
        ({"commit_level": 0}, "between 1 and 7, got 0"),
        ({"language_dim": 1}, "2 tasks do not fit a one-hot of 1 lanes"),
    ],
)
def test_configs_that_cannot_work_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(AWKWARD, **change)


def rms(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()


def replace_actions(inputs: FrameInputs, actions: Tensor) -> FrameInputs:
    return FrameInputs(actions, inputs.has_action, inputs.language)
