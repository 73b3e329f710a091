"""Schedules, decay groups, clipping and the moving average."""

import pytest
import torch
from torch import nn

from reverie.core.errors import ConfigError
from reverie.train.optim import OptimConfig, clip_gradients, lr_factor, make_optimizer
from reverie.train.state import Average, ema_decay


def test_constant_decay_rises_stays_and_falls_to_the_floor() -> None:
    config = OptimConfig(lr=1.0, warmup_share=0.1, decay_share=0.2, floor=0.1)
    factors = [lr_factor(config, step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[10:80] == [1.0] * 70
    assert factors[90] == pytest.approx(0.55)
    assert factors[:11] == sorted(factors[:11])
    assert lr_factor(config, 100, 100) == pytest.approx(0.1)


def test_linear_falls_from_the_end_of_the_warm_up() -> None:
    config = OptimConfig(lr=1.0, schedule="linear", warmup_share=0.1, floor=0.02)
    assert lr_factor(config, 10, 100) == pytest.approx(1.0)
    assert lr_factor(config, 55, 100) == pytest.approx(0.51)
    assert lr_factor(config, 100, 100) == pytest.approx(0.02)


def test_decay_pulls_matrices_and_nothing_else() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Conv2d(1, 2, 3))
    optimizer = make_optimizer(module, OptimConfig(lr=0.1, weight_decay=0.5))
    by_decay = {
        group["weight_decay"]: [value.ndim for value in group["params"]]
        for group in optimizer.param_groups
    }
    assert sorted(by_decay[0.5]) == [2, 4]
    assert by_decay[0.0] == [1, 1, 1, 1]


def test_each_child_is_clipped_by_itself_and_the_whole_norm_is_returned() -> None:
    module = nn.ModuleDict(
        {"net": nn.Linear(1, 1, bias=False), "head": nn.Linear(1, 1, bias=False)}
    )
    for child, gradient in zip(module.values(), (30.0, 0.4), strict=True):
        child.weight.grad = torch.full((1, 1), gradient)  # type: ignore[union-attr]
    norm = clip_gradients(module, 1.0)
    assert float(norm) == pytest.approx((30**2 + 0.4**2) ** 0.5)
    gradients = [float(child.weight.grad) for child in module.values()]  # type: ignore[union-attr]
    assert gradients == pytest.approx([1.0, 0.4], rel=1e-5)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.1), (1, 2 / 11), (90, 0.91), (10**6, 0.999)])
def test_the_average_warms_up(step: int, expected: float) -> None:
    assert ema_decay(step) == pytest.approx(expected)


def test_the_average_moves_by_one_minus_its_decay_and_swapping_twice_changes_nothing() -> None:
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(0.0)
    average = Average(module)
    with torch.no_grad():
        module.weight.fill_(1.0)
    average.update(module, step=0)
    assert _values(module, average) == pytest.approx((1.0, 0.9))
    average.swap(module)
    assert _values(module, average) == pytest.approx((0.9, 1.0))
    average.swap(module)
    assert _values(module, average) == pytest.approx((1.0, 0.9))


def _values(module: nn.Module, average: Average) -> tuple[float, float]:
    own = module.get_parameter("weight").detach()
    return float(own), float(average.tensors["weight"])


def test_rates_and_shares_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="must be positive, got 0"):
        OptimConfig(lr=0.0)
    with pytest.raises(ConfigError, match="shares of one run, got 0.9 and 0.15"):
        OptimConfig(lr=1.0, warmup_share=0.9)
