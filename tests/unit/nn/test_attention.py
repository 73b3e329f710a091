import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from reverie.core.errors import ConfigError
from reverie.nn import attention
from reverie.nn.attention import MAX_LOGIT, Attention, PastBlock, attend
from reverie.nn.rope import Rotation, rotate
from tests.support.dreams import seeded

SIZES = [(24, 4, 2, 3, 5), (24, 4, 4, 3, 5), (2, 1, 1, 1, 1)]
"""Width, heads, KV heads, rows, positions."""


def make(width: int, heads: int, kv_heads: int) -> Attention:
    torch.manual_seed(2)
    return Attention(width, heads, kv_heads)


def places(net: Attention, count: int, start: int = 0) -> Rotation:
    return Rotation.of(torch.arange(start, start + count), net.head_dim)


def reference(net: Attention, x: Tensor, mask: Tensor | None) -> Tensor:
    """Attention head by head, with loops."""
    query, key, past = net.look(x, places(net, x.shape[1]))
    share = net.num_heads // net.num_kv_heads
    heads = []
    for head in range(net.num_heads):
        logits = query[:, :, head] @ key[:, :, head // share].transpose(1, 2)
        if mask is not None:
            logits = torch.where(mask, logits, -torch.inf)
        heads.append(torch.softmax(logits, dim=-1) @ past.values[:, :, head // share])
    return net.out(torch.cat(heads, dim=-1))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("is_masked", [False, True])
def test_it_equals_attention_written_head_by_head(
    size: tuple[int, int, int, int, int], is_masked: bool
) -> None:
    width, heads, kv_heads, rows, count = size
    net = make(width, heads, kv_heads)
    x = torch.randn((rows, count, width), generator=seeded())
    mask = torch.ones(count, count, dtype=torch.bool).tril() if is_masked else None
    out, _ = net(x, places(net, count), mask)
    assert_close(out, reference(net, x, mask), atol=1e-5, rtol=1e-5)


def test_grouped_heads_equal_plain_attention_with_repeated_keys_and_values() -> None:
    grouped, plain = make(24, 4, 2), make(24, 4, 4)
    with torch.no_grad():
        plain.out.weight.copy_(grouped.out.weight)
        query, *shared = grouped.project.weight.view(8, 6, 24).split([4, 2, 2])
        own = [x.repeat_interleave(2, dim=0) for x in shared]
        plain.project.weight.copy_(torch.cat([query, *own]).flatten(0, 1))
    x = torch.randn((3, 5, 24), generator=seeded())
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    assert_close(
        grouped(x, places(grouped, 5), mask)[0],
        plain(x, places(plain, 5), mask)[0],
        atol=1e-6,
        rtol=1e-5,
    )


@pytest.mark.parametrize("kv_heads", [2, 4])
@pytest.mark.parametrize("mask_axes", [0, 2, 3])
def test_written_out_and_fused_attention_agree(
    monkeypatch: pytest.MonkeyPatch, kv_heads: int, mask_axes: int
) -> None:
    rng = seeded()
    query = torch.randn((3, 5, 4, 6), generator=rng)
    key, value = torch.randn((2, 3, 5, kv_heads, 6), generator=rng)
    mask = None
    if mask_axes:
        mask = torch.ones(5, 5, dtype=torch.bool).tril()
    if mask_axes == 3:
        own = torch.eye(5, dtype=torch.bool)
        mask = torch.stack([mask, own, mask])  # type: ignore[list-item]
    written = attend(query, key, value, mask)
    monkeypatch.setattr(attention, "SHORT_SEQUENCE", 0)
    assert_close(attend(query, key, value, mask), written, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("factor", [1.0, 1000.0])
def test_no_logit_exceeds_fifty_however_large_the_inputs(factor: float) -> None:
    net = make(24, 4, 2)
    with torch.no_grad():
        net.gain_logit.fill_(30.0)
        net.project.weight.mul_(factor)
    x = factor * torch.randn((3, 5, 24), generator=seeded())
    query, key, _ = net.look(x, places(net, 5))
    logits = torch.einsum("r p h c, r q h c -> r h p q", query, key.repeat_interleave(2, dim=2))
    # One part in a million for the rounding of unit vectors.
    assert logits.abs().max() <= MAX_LOGIT * (1 + 1e-6)
    assert logits.abs().max() > 25


def test_gains_start_at_the_root_of_the_head_size() -> None:
    assert_close(make(24, 4, 2).gains(), torch.full((4,), 6.0).sqrt())


def test_a_masked_position_changes_nothing_bit_for_bit() -> None:
    net = make(24, 4, 2)
    x = torch.randn((3, 5, 24), generator=seeded())
    mask = torch.ones(5, 5, dtype=torch.bool)
    mask[:4, 4] = False
    junk = x.clone()
    junk[:, 4] = 1e4
    outs = [net(y, places(net, 5), mask)[0][:, :4] for y in (x, junk)]
    assert torch.equal(*outs)


@pytest.mark.parametrize("size", SIZES)
def test_a_step_from_shared_and_own_past_equals_the_whole_window(
    size: tuple[int, int, int, int, int],
) -> None:
    width, heads, kv_heads, tokens, _ = size
    net = make(width, heads, kv_heads)
    window = torch.randn((2 * tokens, 5, width), generator=seeded())
    whole, past = net(window, places(net, 5), torch.ones(5, 5, dtype=torch.bool).tril())
    keys = rotate(past.keys, torch.arange(5)).unflatten(0, (2, tokens))
    values = past.values.unflatten(0, (2, tokens))
    blocks = [
        PastBlock.of(keys[:, :, :3], values[:, :, :3], 1),
        PastBlock.of(keys[:, :, 3:4], values[:, :, 3:4], 1),
    ]
    new = window[:, 4].unflatten(0, (2, tokens))
    got, _ = net.step(new, places(net, 1, start=4), blocks)
    assert_close(got.flatten(0, 1), whole[:, 4], atol=1e-5, rtol=1e-5)
    # Three forks of each row read the first block without copying it.
    forks = [PastBlock(blocks[0].keys, blocks[0].values, 3), *(_repeat(x, 3) for x in blocks[1:])]
    got, _ = net.step(new.repeat_interleave(3, dim=0), places(net, 1, start=4), forks)
    wanted = whole[:, 4].unflatten(0, (2, tokens)).repeat_interleave(3, dim=0)
    assert_close(got, wanted, atol=1e-5, rtol=1e-5)


def test_gradients_of_the_written_out_path_are_those_of_the_fused_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = make(24, 4, 2)
    other = copy.deepcopy(net)
    x = torch.randn((3, 5, 24), generator=seeded())
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    net(x, places(net, 5), mask)[0].square().sum().backward()
    monkeypatch.setattr(attention, "SHORT_SEQUENCE", 0)
    other(x, places(other, 5), mask)[0].square().sum().backward()
    for mine, fused in zip(net.parameters(), other.parameters(), strict=True):
        assert_close(mine.grad, fused.grad, atol=1e-4, rtol=1e-4)


def test_low_precision_stays_close_to_full_precision() -> None:
    net = make(24, 4, 2)
    x = torch.randn((3, 5, 24), generator=seeded())
    full, _ = net(x, places(net, 5), None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low, _ = net(x, places(net, 5), None)
    assert low.dtype == torch.bfloat16
    assert functional.mse_loss(low.float(), full) < 1e-3 * full.square().mean()


@pytest.mark.parametrize("size", [(25, 4, 4), (24, 4, 3), (12, 4, 4)])
def test_heads_that_do_not_fit_are_refused(size: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match=f"got width {size[0]}, {size[1]} heads, {size[2]} KV"):
        Attention(*size)


def _repeat(block: PastBlock, times: int) -> PastBlock:
    pair = (x.repeat_interleave(times, dim=0) for x in (block.keys, block.values))
    return PastBlock(*pair, 1)
