"""Paired windows put every frame where a dreamed frame is: this is what the laws compare."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from reverie.models.dynamics.net import DynamicsConfig, FrameInputs
from reverie.models.dynamics.objective import DynamicsObjective, ObjectiveConfig, RowPlan
from reverie.models.dynamics.paired import PairedWindows, paired_mask
from reverie.models.dynamics.precondition import Previous
from reverie.models.dynamics.shortcut import Labels
from reverie.nn.kv_cache import Cache
from tests.support.dreams import SIZES, make_batch, make_net, random_latents, seeded, stir
from tests.unit.models.test_dynamics_net import inputs_for
from tests.unit.models.test_dynamics_objective import HEADS

ROWS = 2


def labels_like(config: DynamicsConfig, latents: Tensor, level: int, exponent: int) -> Labels:
    levels = torch.full(latents.shape[:2], level)
    return Labels(levels, torch.full_like(levels, exponent))


def previous(config: DynamicsConfig, committed: Tensor) -> Previous:
    signal = torch.full((ROWS, 1), config.commit_level / config.shortcut.num_levels)
    return Previous(committed[:, None], signal, torch.ones(ROWS, 1, dtype=torch.bool))


def test_noisy_frames_see_themselves_and_committed_frames_before_them() -> None:
    assert paired_mask(4, 3, torch.device("cpu")).int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0, 0],
        [1, 0, 0, 0, 0, 1, 0, 0],
        [1, 1, 0, 0, 0, 0, 1, 0],
        [0, 1, 1, 0, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize("uses_previous", [False, True])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
@torch.no_grad()
def test_a_paired_frame_is_denoised_exactly_as_a_dreamed_one(
    size: DynamicsConfig, uses_previous: bool
) -> None:
    config = replace(size, uses_previous=uses_previous)
    net, count = make_net(config), 2 * config.context + 2
    stir(net)
    committed, noisy = random_latents(config, ROWS, count), random_latents(config, ROWS, count) + 1
    inputs = inputs_for(config, ROWS, count)
    finest = config.shortcut.finest_exponent
    labels = labels_like(config, noisy, 0, 0)
    clean, agents = PairedWindows(net, committed, inputs).denoise(noisy, labels)
    held = labels_like(config, committed, config.commit_level, finest)
    cache: Cache | None = None
    for time in range(count):
        now = slice(time, time + 1)
        told = FrameInputs(inputs.actions[:, now], inputs.has_action[:, now], inputs.language)
        position, past = cache.blocks() if cache else (0, [[]] * config.stack.num_time_layers)
        label = Labels(labels.signal_level[:, now], labels.step_exponent[:, now])
        before = previous(config, committed[:, time - 1]) if time else None
        new = net.prepare(told, position, past, before)
        dreamed, _, _ = net.step(noisy[:, time], label, new)
        assert_close(dreamed, clean[:, time], atol=1e-5, rtol=1e-5)
        label = Labels(held.signal_level[:, now], held.step_exponent[:, now])
        _, features, kept = net.step(committed[:, time], label, new)
        assert_close(features, agents[:, time], atol=1e-5, rtol=1e-5)
        cache = cache.commit(kept) if cache else Cache.from_window(kept, config.context)


def test_a_slice_of_the_rows_is_what_these_rows_are_alone() -> None:
    config = SIZES["awkward"]
    net = make_net(config)
    stir(net)
    latents, inputs = random_latents(config, 3, 6), inputs_for(config, 3, 6)
    windows, labels = PairedWindows(net, latents, inputs), labels_like(config, latents, 2, 1)
    both = windows.denoise(latents, labels)[0][1:]
    alone = windows.rows(slice(1, None)).denoise(latents[1:], labels.rows(slice(1, None)))[0]
    assert_close(alone, both, atol=1e-6, rtol=1e-5)


def make(**changes: float) -> DynamicsObjective:
    torch.manual_seed(2)
    config = ObjectiveConfig(total_steps=100, **changes)  # type: ignore[arg-type]
    objective = DynamicsObjective(make_net(), HEADS, config, latent_limit=2.5)
    stir(objective)
    return objective.train()


def test_paired_rows_come_last_and_the_others_divide_the_rest() -> None:
    assert make(paired_fraction=0.5).plan_rows(16, 0) == RowPlan(8, 0, 0, 0, 8)
    assert make(paired_fraction=0.5).plan_rows(16, 95) == RowPlan(4, 1, 1, 2, 8)
    assert make(paired_fraction=1.0).plan_rows(16, 95) == RowPlan(0, 0, 0, 0, 16)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_paired_rows_train_network_and_heads(share: float) -> None:
    objective = make(paired_fraction=share, bootstrap_fraction=0.5)
    config = objective.net.config
    report = objective(random_latents(config, 8, 6), make_batch(8, 6), step=95, rng=seeded(3))
    report.total.backward()
    assert {"flow", "finest_mse", "reward", "continue"} <= report.terms.keys()
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name


def test_a_frame_changes_no_loss_of_earlier_frames() -> None:
    """Only the last frame's own error may depend on the last frame."""
    objective = make(paired_fraction=1.0)
    config = objective.net.config
    latents, batch = random_latents(config, 4, 6), make_batch(4, 6)
    changed = latents.clone()
    changed[:, -1] += 3.0
    inputs = objective._inputs(batch, slice(None))
    before, after = (
        objective._paired_rows(x, inputs, True, seeded(3)).error for x in (latents, changed)
    )
    assert torch.equal(before[:, :-1], after[:, :-1])
    assert not torch.allclose(before[:, -1], after[:, -1])


def test_dreamed_context_holds_one_step_dreams_in_some_frames_but_never_in_the_first() -> None:
    objective = make(paired_fraction=1.0)
    config = objective.net.config
    latents, inputs = random_latents(config, 4, 9), inputs_for(config, 4, 9)
    held = labels_like(config, latents, config.commit_level, config.shortcut.finest_exponent)
    mixed = objective._dream_context(latents, inputs, held, seeded(5))
    rng = seeded(5)
    windows = PairedWindows(objective.net, objective._corrupt(latents, held, rng), inputs)
    noise = torch.randn(latents.shape, generator=rng)
    dreamed = windows.denoise(noise, labels_like(config, latents, 0, 0))[0].clamp(-2.5, 2.5)
    is_real = (mixed == latents).flatten(2).all(dim=2)
    assert bool(is_real[:, 0].all())
    assert 0 < int(is_real[:, 1:].sum()) < is_real[:, 1:].numel()
    assert_close(mixed[~is_real], dreamed[~is_real], atol=1e-5, rtol=1e-5)


def test_a_deeper_context_holds_dreams_that_follow_dreams() -> None:
    shallow, deep = (make(paired_fraction=1.0, dreamed_context_depth=depth) for depth in (1, 2))
    config = shallow.net.config
    latents, inputs = random_latents(config, 4, 9), inputs_for(config, 4, 9)
    held = labels_like(config, latents, config.commit_level, config.shortcut.finest_exponent)
    rng = seeded(5)
    once = shallow._dream_context(latents, inputs, held, rng)
    windows = PairedWindows(deep.net, deep._corrupt(once, held, rng), inputs)
    noise = torch.randn(latents.shape, generator=rng)
    dreamed = windows.denoise(noise, labels_like(config, latents, 0, 0))[0].clamp(-2.5, 2.5)
    twice = deep._dream_context(latents, inputs, held, seeded(5))
    is_real = (twice == latents).flatten(2).all(dim=2)
    assert 0 < int((~is_real).sum())
    assert_close(twice[~is_real], dreamed[~is_real], atol=1e-5, rtol=1e-5)


def test_rows_with_dreamed_context_still_aim_at_the_real_next_frame() -> None:
    objective = make(paired_fraction=1.0, dreamed_context_fraction=1.0, bootstrap_fraction=0.0)
    config = objective.net.config
    latents, inputs = random_latents(config, 4, 6), inputs_for(config, 4, 6)
    with torch.no_grad():
        for value in objective.net.flow_head.parameters():
            value.zero_()
    part = objective._paired_rows(latents, inputs, True, seeded(3))
    # A network that says zero is wrong by the real frame itself, whatever stands before it.
    assert_close(part.error, latents.square().mean(dim=(2, 3)))


def test_dreamed_context_waits_until_coarse_steps_are_trained() -> None:
    plain = make(paired_fraction=1.0)
    eager = make(paired_fraction=1.0, dreamed_context_fraction=1.0)
    config = plain.net.config
    latents, inputs = random_latents(config, 4, 6), inputs_for(config, 4, 6)
    early = [o._paired_rows(latents, inputs, False, seeded(3)).error for o in (plain, eager)]
    late = [o._paired_rows(latents, inputs, True, seeded(3)).error for o in (plain, eager)]
    assert torch.equal(*early)
    assert not torch.allclose(*late)
