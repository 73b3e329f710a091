"""The linear guess is the best one for the statistics that it assumes."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from reverie.models.dynamics.net import DynamicsNet
from reverie.models.dynamics.precondition import MOTION_VARIANCE, Previous, Prior
from reverie.models.dynamics.shortcut import Labels
from tests.support.dreams import AWKWARD, random_latents, seeded
from tests.unit.models.test_dynamics_net import inputs_for

COUNT = 200_000


def draw(signal: float, prior: float, *, is_known: bool) -> tuple[Tensor, Tensor, Previous]:
    rng = seeded(7)
    before = torch.randn((1, 1, COUNT, 1), generator=rng)
    clean = before + MOTION_VARIANCE**0.5 * torch.randn(before.shape, generator=rng)
    noisy = signal * clean + (1 - signal) * torch.randn(clean.shape, generator=rng)
    seen = prior * before + (1 - prior) * torch.randn(before.shape, generator=rng)
    known = torch.full((1, 1), is_known)
    return clean, noisy, Previous(seen, torch.full((1, 1), prior), known)


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("signal", [0.0, 0.5, 0.75, 0.9375])
def test_the_expected_error_is_the_error(signal: float, is_known: bool) -> None:
    clean, noisy, previous = draw(signal, 0.9375, is_known=is_known)
    guess = Prior.of(previous).guess(noisy, torch.full((1, 1), signal))
    error = (guess.mean - clean).square().mean().sqrt()
    assert_close(guess.std[0, 0, 0, 0], error, rtol=0.03, atol=0)


def test_nothing_known_and_pure_noise_guess_zero_with_unit_error() -> None:
    _, noisy, previous = draw(0.0, 0.9375, is_known=False)
    guess = Prior.of(previous).guess(noisy, torch.zeros(1, 1))
    assert torch.equal(guess.mean, torch.zeros_like(noisy)) and float(guess.std) == 1.0


def test_the_count_of_parameters_includes_the_guess() -> None:
    config = replace(AWKWARD, uses_previous=True)
    counted = sum(item.numel() for item in DynamicsNet(config).parameters())
    assert counted == config.num_parameters


@torch.no_grad()
def test_a_net_whose_head_is_zero_predicts_the_guess_itself() -> None:
    config = replace(AWKWARD, uses_previous=True)
    net = DynamicsNet(config)
    noisy, level = random_latents(config, 2, 1), torch.full((2, 1), 4)
    known = torch.ones(2, 1, dtype=torch.bool)
    previous = Previous(random_latents(config, 2, 1) + 1, torch.full((2, 1), 0.875), known)
    labels, past = Labels(level, level - 2), [[]] * config.stack.num_time_layers
    clean, _, _ = net.step(
        noisy[:, 0], labels, net.prepare(inputs_for(config, 2, 1), 0, past, previous)
    )
    guess = Prior.of(previous).guess(noisy, level / config.shortcut.num_levels)
    assert torch.equal(clean, guess.mean[:, 0])
    assert not torch.allclose(clean, noisy[:, 0])
