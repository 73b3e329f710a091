"""Worked numbers of what released weights do otherwise."""

import pytest
import torch
from torch.testing import assert_close

from reverie.nn.attention import Attention
from reverie.nn.blocks import Layer, StackConfig, banded_mask
from reverie.nn.distributions import TwoHot
from reverie.nn.mlp import SwiGLU
from reverie.nn.norm import RMSNorm
from reverie.nn.quirks import MMBENCH2, NATIVE
from reverie.nn.rope import Rotation

X = torch.tensor([1.0, 2.0, 3.0, 4.0])
K = torch.tensor([0.5, -1.0, 2.0, 1.0])


def turned(x: torch.Tensor, position: int) -> torch.Tensor:
    rotation = Rotation.of(torch.tensor([position]), 4, is_mismatched=True)
    return rotation.turn(x[None, None])[0, 0]


def test_the_mismatched_rope_gives_its_worked_numbers() -> None:
    assert_close(turned(X, 1), torch.tensor([-1.142640, 2.009900, -1.744977, 4.029800]))
    assert_close(turned(X, 3), torch.tensor([-1.272233, 2.029096, -3.534458, 4.088187]))
    assert float(turned(X, 1).norm()) == pytest.approx(4.962817, abs=1e-6)


def test_mismatched_logits_depend_on_absolute_positions() -> None:
    def cosine(at: int, key_at: int) -> float:
        return float(torch.cosine_similarity(turned(X, at), turned(K, key_at), dim=0))

    assert cosine(3, 1) == pytest.approx(-0.010074, abs=1e-6)
    assert 2 * cosine(3, 1) == pytest.approx(-0.020148, abs=1e-6)
    assert cosine(5, 3) == pytest.approx(-0.463835, abs=1e-6)


def test_tokens_without_time_attention_add_their_own_norm() -> None:
    config = StackConfig(
        width=2, depth=1, num_heads=1, num_kv_heads=1, time_every=1, quirks=MMBENCH2
    )
    layer = Layer(config, has_time=True)
    x = torch.tensor([3.0, 4.0]).expand(1, 1, 2, 2)
    clock = Rotation.of(torch.arange(1), 2, is_mismatched=True)
    out, _ = layer.mix_time(x, clock, banded_mask(1, 1, x.device), 1)
    assert_close(out[0, 0, 1], torch.tensor([3.848528, 5.131371]))
    stepped, _ = layer.step_time(x[:, 0], clock, [], 1)
    assert_close(stepped, out[:, 0])


def test_the_norm_gives_its_worked_numbers() -> None:
    assert_close(RMSNorm(4)(X), torch.tensor([0.365148, 0.730297, 1.095445, 1.460593]))


def test_the_second_half_of_a_fused_feed_forward_is_the_gate() -> None:
    mlp = SwiGLU(2, 2, has_biases=True)
    with torch.no_grad():
        for linear in (mlp.up, mlp.gate, mlp.down):
            linear.weight.copy_(torch.eye(2))
            linear.bias.zero_()
        mlp.up.weight.zero_()
        mlp.gate.weight.zero_()
        mlp.up.bias.copy_(torch.tensor([1.0, -2.0]))
        mlp.gate.bias.copy_(torch.tensor([0.5, 3.0]))
    assert_close(mlp(torch.zeros(1, 2))[0], torch.tensor([0.311230, -5.715445]))


def test_gains_are_exponential_up_to_a_hundred() -> None:
    net = Attention(4, 2, 2, MMBENCH2)
    with torch.no_grad():
        net.gain_logit.copy_(torch.tensor([0.5, 9.0]))
    assert_close(net.gains(), torch.tensor([1.648721, 100.0]))


def test_rewards_are_read_in_symlog_space() -> None:
    head = TwoHot(255, 10.0, is_symlog=True)
    weights = head.encode(torch.tensor([3.0]))[0]
    assert_close(weights[144:146], torch.tensor([0.394062, 0.605938]), atol=1e-5, rtol=0)
    assert float(head.decode(weights.log()[None])[0]) == pytest.approx(3.0, abs=1e-4)
    even = torch.full((1, 255), -torch.inf)
    even[0, [127, 145]] = 0.0
    assert float(head.decode(even)[0]) == pytest.approx(1.031270, abs=1e-5)


def test_our_own_models_have_no_quirks() -> None:
    config = StackConfig(width=4, depth=1, num_heads=1, num_kv_heads=1, time_every=1)
    assert config.quirks == NATIVE and NATIVE.has_outer_norms
