import pytest
import torch
from torch.testing import assert_close

from reverie.nn.rope import rotate
from tests.support.dreams import seeded


@pytest.mark.parametrize(("rows", "positions", "heads", "lanes"), [(2, 5, 3, 8), (1, 1, 1, 2)])
def test_rotation_keeps_norms(rows: int, positions: int, heads: int, lanes: int) -> None:
    x = torch.randn((rows, positions, heads, lanes), generator=seeded())
    turned = rotate(x, torch.arange(positions) * 7)
    assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_products_depend_only_on_the_difference_of_positions() -> None:
    query, key = torch.randn((2, 1, 3, 8), generator=seeded()).split(1)

    def product(at: int, other: int) -> torch.Tensor:
        turned = (rotate(x, torch.tensor([p])) for x, p in ((query, at), (key, other)))
        left, right = turned
        return (left * right).sum(dim=-1)

    assert_close(product(9, 4), product(5, 0), atol=1e-5, rtol=1e-5)
    assert_close(product(47, 47), product(0, 0), atol=1e-5, rtol=1e-5)
    assert (product(9, 4) - product(9, 5)).abs().max() > 1e-2


def test_lane_i_turns_with_lane_i_plus_half() -> None:
    x = torch.zeros(1, 1, 1, 6)
    x[..., 1] = 1.0
    turned = rotate(x, torch.tensor([3]))[0, 0, 0]
    angle = torch.tensor(3.0 * 10_000.0 ** (-1 / 3))
    assert_close(turned[[1, 4]], torch.stack([angle.cos(), angle.sin()]))
    assert not turned[[0, 2, 3, 5]].any()


def test_position_zero_changes_nothing() -> None:
    x = torch.randn((2, 1, 3, 8), generator=seeded())
    assert torch.equal(rotate(x, torch.tensor([0])), x)
