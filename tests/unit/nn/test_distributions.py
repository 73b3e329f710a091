import math

import pytest
import torch
from torch.testing import assert_close

from reverie.nn.distributions import TwoHot, symexp, symlog
from tests.support.dreams import seeded


def twohot() -> TwoHot:
    return TwoHot(255, 10.0)


def decode_weights(head: TwoHot, weights: torch.Tensor) -> torch.Tensor:
    return head.decode(weights.clamp_min(1e-38).log())


def test_symexp_inverts_symlog() -> None:
    x = torch.tensor([-2e4, -1.0, -1e-3, 0.0, 1e-3, 1.0, 2e4])
    assert_close(symexp(symlog(x)), x, rtol=1e-4, atol=1e-6)
    assert float(symlog(torch.tensor(math.e - 1))) == pytest.approx(1.0)


def test_any_reward_in_range_survives_encoding_and_decoding() -> None:
    values = torch.cat([torch.linspace(-20, 20, 401), torch.tensor([0.0, 1e-4, -3e3, 9e3])])
    head = twohot()
    assert_close(decode_weights(head, head.encode(values)), values, rtol=1e-4, atol=1e-4)


def test_weights_sum_to_one_on_at_most_two_neighbours() -> None:
    weights = twohot().encode(torch.randn((3, 5), generator=seeded()) * 30)
    assert_close(weights.sum(dim=-1), torch.ones(3, 5))
    assert (weights >= 0).all()
    for row in weights.flatten(0, 1):
        places = row.nonzero().flatten()
        assert len(places) <= 2 and int(places[-1] - places[0]) <= 1


def test_half_zeros_and_half_ones_read_one_half() -> None:
    """The mean is taken in raw space: in symlog space a coin flip would read 0.41."""
    head = twohot()
    weights = head.encode(torch.tensor([0.0, 1.0])).mean(dim=0, keepdim=True)
    assert float(decode_weights(head, weights)) == pytest.approx(0.5, abs=1e-4)


def test_values_beyond_the_grid_are_clipped_to_it() -> None:
    head = TwoHot(5, 1.0)
    wide = head.encode(torch.tensor([-99.0, 99.0]))
    assert_close(decode_weights(head, wide), torch.tensor([-1.0, 1.0]) * (math.e - 1))


def test_the_middle_bin_is_zero_and_the_grid_even_about_it() -> None:
    bins = twohot().bins
    assert abs(float(bins[127])) < 1e-12
    assert_close(bins, -bins.flip(0), rtol=1e-5, atol=1e-12)
    assert (bins.diff() > 0).all()


def test_the_loss_is_least_at_the_target() -> None:
    head = twohot()
    target = torch.tensor([0.7])
    own = head.encode(target).clamp_min(1e-30).log()
    other = head.encode(target + 1).clamp_min(1e-30).log()
    assert float(head.loss(own, target)) < float(head.loss(other, target))
    weights = head.encode(target)
    entropy = -(weights * weights.clamp_min(1e-30).log()).sum()
    assert float(head.loss(own, target)) == pytest.approx(float(entropy), abs=1e-5)


def test_gradient_descent_on_coin_flips_reads_their_mean() -> None:
    head, rng = TwoHot(41, 3.0), seeded(1)
    logits = torch.zeros(41, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    flips = (torch.rand(512, generator=rng) < 0.3).float()
    for _ in range(150):
        loss = head.loss(logits.expand(512, -1), flips).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(head.decode(logits.detach())) == pytest.approx(float(flips.mean()), abs=0.02)
