"""Laws of recordings: they compute what the function computes, keep results apart, stay bounded.

The tape here replays like a CUDA graph does: the same work on the same tensors, and its results
are written over the first ones. What only a card can refuse is checked by ``benchmarks/play.py``.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.nn.recorded import Recorded
from tests.support.tapes import OverwritingTape


@dataclass(frozen=True, slots=True)
class Pair:
    left: Tensor
    right: list[Tensor]
    factor: int


def add(pair: Pair, more: Tensor) -> tuple[Tensor, Pair]:
    total = pair.factor * (pair.left + sum(pair.right)) + more
    return total, Pair(total + 1, [total * 2], pair.factor)


def make_pair(seed: int, *, size: int = 3, factor: int = 2) -> Pair:
    rng = torch.Generator().manual_seed(seed)
    draw: Callable[[], Tensor] = lambda: torch.randn(size, generator=rng)  # noqa: E731
    return Pair(draw(), [draw(), draw()], factor)


def record(function: Callable[..., Any] = add, **options: Any) -> tuple[Recorded, OverwritingTape]:
    tape = OverwritingTape()
    return Recorded(function, tape, **{"calls_before": 0, **options}), tape


def same(one: Any, two: Any) -> bool:
    return bool(
        torch.equal(one[0], two[0])
        and torch.equal(one[1].left, two[1].left)
        and torch.equal(one[1].right[0], two[1].right[0])
        and one[1].factor == two[1].factor
    )


@torch.no_grad()
def test_replays_compute_what_the_function_computes_and_leave_earlier_results_alone() -> None:
    recorded, tape = record()
    inputs = [(make_pair(seed), torch.full((3,), float(seed))) for seed in range(4)]
    given = [recorded(*pair) for pair in inputs]
    assert all(same(found, add(*pair)) for found, pair in zip(given, inputs, strict=True))
    assert (tape.num_recorded, tape.num_replayed) == (1, 3)


@torch.no_grad()
@pytest.mark.parametrize("other", [make_pair(1, size=4), make_pair(1, factor=3)])
def test_other_shapes_and_other_plain_values_have_recordings_of_their_own(other: Pair) -> None:
    recorded, tape = record()
    for pair in (make_pair(0), other, make_pair(0), other):
        more = torch.zeros_like(pair.left)
        assert same(recorded(pair, more), add(pair, more))
    assert tape.num_recorded == recorded.num_recordings == 2


@torch.no_grad()
def test_an_input_given_again_is_not_copied_again() -> None:
    recorded, _ = record()
    pair, more = make_pair(0), torch.zeros(3)
    first = recorded(pair, more)
    pair.left.add_(1)  # which no caller does: it shows that the old numbers were kept
    assert same(recorded(pair, more), first)
    assert same(recorded(Pair(pair.left.clone(), pair.right, 2), more), add(pair, more))


def test_recordings_of_inference_mode_serve_outside_of_it_and_the_other_way_round() -> None:
    for inside, outside in ((torch.inference_mode, torch.no_grad), (torch.no_grad,) * 2):
        recorded, tape = record()
        with inside():
            recorded(make_pair(0), torch.zeros(3))
        with outside():
            pair, more = make_pair(1), torch.ones(3)
            assert same(recorded(pair, more), add(pair, more))
        with torch.inference_mode():
            pair, more = make_pair(2), torch.ones(3)
            assert same(recorded(pair, more), add(pair, more))
        assert tape.num_recorded == 1


def test_with_gradients_the_function_itself_is_called() -> None:
    recorded, tape = record()
    weight = torch.ones(3, requires_grad=True)
    recorded(make_pair(0), weight)[0].sum().backward()
    assert weight.grad is not None
    assert tape.num_recorded == 0


@torch.no_grad()
def test_the_least_recently_used_give_way_and_too_large_calls_are_not_recorded() -> None:
    bytes_of_3 = 4 * 3 * 4
    recorded, tape = record(budget_bytes=2 * bytes_of_3)
    small, other, third = make_pair(0), make_pair(1, factor=3), make_pair(2, factor=4)
    for pair in (small, other, small, third, small):
        recorded(pair, torch.zeros(3))
    assert (tape.num_recorded, recorded.num_recordings) == (3, 2)
    recorded(other, torch.zeros(3))
    assert tape.num_recorded == 4
    large = make_pair(0, size=9)
    assert same(recorded(large, torch.zeros(9)), add(large, torch.zeros(9)))
    assert tape.num_recorded == 4


@torch.no_grad()
def test_shapes_that_come_once_are_not_recorded() -> None:
    recorded, tape = record(calls_before=2)
    for seed in range(3):
        pair, more = make_pair(seed), torch.zeros(3)
        assert tape.num_recorded == 0
        assert same(recorded(pair, more), add(pair, more))
    assert tape.num_recorded == 1


@torch.no_grad()
def test_autocast_is_part_of_what_is_recorded() -> None:
    weight = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    recorded, tape = record(lambda x: (x @ weight,))
    x = torch.ones(1, 3)
    plain = recorded(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        short = recorded(x)[0]
        assert torch.equal(recorded(x.clone())[0], short)
    assert (plain.dtype, short.dtype) == (torch.float32, torch.bfloat16)
    assert torch.equal(recorded(x.clone())[0], plain)
    assert tape.num_recorded == 2


@torch.no_grad()
def test_a_copy_begins_without_recordings() -> None:
    recorded, _ = record()
    recorded(make_pair(0), torch.zeros(3))
    assert copy.deepcopy(recorded).num_recordings == 0
