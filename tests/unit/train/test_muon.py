"""Muon steps matrices along orthogonal directions, and leaves the rest to AdamW."""

import copy

import pytest
import torch
from torch import nn

from reverie.core.errors import ConfigError
from reverie.train.muon import MuonAdamW, matrix_weights, orthogonal
from reverie.train.optim import OptimConfig, make_optimizer

MUON = OptimConfig(lr=0.01, weight_decay=0.0, matrices="muon")


def with_gradients(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for value in module.parameters():
        value.grad = torch.randn(value.shape, generator=generator)
    return module


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 40), (2, 40, 8), (1, 64, 1024)])
def test_singular_values_become_one_and_singular_vectors_stay(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    made = orthogonal(matrices)
    assert torch.linalg.svdvals(made).min() > 0.5  # noqa: PLR2004
    assert torch.linalg.svdvals(made).max() < 1.25  # noqa: PLR2004
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    spectrum = left.mT @ made @ right.mT
    off_diagonal = spectrum - torch.diag_embed(spectrum.diagonal(dim1=1, dim2=2))
    assert off_diagonal.abs().max() < 0.1  # noqa: PLR2004


def test_a_direction_a_hundred_times_rarer_moves_as_far() -> None:
    layer = nn.Linear(2, 2, bias=False)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.diag(torch.tensor([1.0, 1e-2]))
    make_optimizer(layer, MUON).step()
    moved = (before - layer.weight).diagonal()
    assert moved[1] > 0.5 * moved[0] > 0


def test_updates_are_as_large_as_those_of_adamw_whatever_the_shape() -> None:
    module = with_gradients(
        nn.Sequential(nn.Linear(32, 8), nn.Linear(16, 64), nn.Conv2d(8, 32, 4), nn.Linear(64, 64))
    )
    before = copy.deepcopy(module)
    make_optimizer(module, MUON).step()
    for now, then in zip(matrix_weights(module), matrix_weights(before), strict=True):
        size = (now - then).detach().square().mean().sqrt()
        assert float(size) == pytest.approx(0.2 * MUON.lr, rel=0.35)


def test_biases_gains_and_tables_are_stepped_as_by_adamw_alone() -> None:
    module = with_gradients(
        nn.Sequential(
            nn.Linear(4, 3), nn.LayerNorm(3), nn.Embedding(5, 2), nn.ConvTranspose2d(2, 2, 2)
        )
    )
    other = with_gradients(copy.deepcopy(module))
    before = copy.deepcopy(module)
    make_optimizer(module, MUON).step()
    make_optimizer(other, OptimConfig(lr=0.01, weight_decay=0.0)).step()
    matrices = {"0.weight", "3.weight"}
    for name, value in module.named_parameters():
        assert not torch.equal(value, before.get_parameter(name))
        assert torch.equal(value, other.get_parameter(name)) == (name not in matrices)


def test_what_is_frozen_or_has_no_gradient_stays() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[0].requires_grad_(False)
    before = copy.deepcopy(module)
    optimizer = make_optimizer(module, MUON)
    assert isinstance(optimizer, MuonAdamW)
    optimizer.step()
    for name, value in module.named_parameters():
        assert torch.equal(value, before.get_parameter(name))


def test_decay_pulls_matrices_towards_zero() -> None:
    layer = nn.Linear(4, 4, bias=False)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.zeros(4, 4)
    make_optimizer(layer, OptimConfig(lr=0.1, weight_decay=0.5, matrices="muon")).step()
    assert torch.allclose(layer.weight, before * (1 - 0.1 * 0.5))


def test_slices_of_matrices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reverie.train.optim.is_sharded", lambda _module: True)
    with pytest.raises(ConfigError, match="--parallel ddp, or set optim.matrices=adamw"):
        make_optimizer(nn.Linear(2, 2), MUON)
