"""Compiled training: what is compiled, when it pays, and that a run goes on bit for bit."""

from typing import Any

import pytest
import torch
from torch import nn

from reverie.parallel import compiling
from reverie.parallel.compiling import WORTHWHILE_STEPS, compile_training, decide
from reverie.parallel.ranks import Ranks
from reverie.parallel.shard import Scaling, spread

CPU = torch.device("cpu")


class Unit(nn.Module):
    is_shard_unit = True

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.silu(self.linear(x))


def test_only_training_is_compiled_and_each_shape_by_itself() -> None:
    torch._dynamo.reset()
    shapes: list[tuple[int, ...]] = []

    def note(graph: Any, inputs: list[Any]) -> Any:
        shapes.append(next(tuple(x.shape) for x in inputs if x.ndim == 2 and x.shape[1] == 5))
        return graph.forward

    unit = Unit()
    plain = [unit(torch.ones(rows, 5)) for rows in (2, 3, 4)]
    compile_training(unit, note)
    unit.eval()
    unit(torch.ones(7, 5))
    assert shapes == []
    unit.train()
    for rows, expected in zip((2, 3, 4), plain, strict=True):
        assert torch.equal(unit(torch.ones(rows, 5)), expected)
        unit(torch.ones(rows, 5))
    assert len(shapes) == 3
    assert len(unit.state_dict()) == 2


@pytest.mark.parametrize(
    ("wish", "device", "num_ranks", "num_steps", "expected"),
    [
        ("on", "cuda", 4, 1, True),
        ("off", "cpu", 1, 10**6, False),
        ("auto", "cpu", 1, WORTHWHILE_STEPS, True),
        ("auto", "cpu", 1, WORTHWHILE_STEPS - 1, False),
        ("auto", "cpu", 2, WORTHWHILE_STEPS, False),
        ("auto", "cuda", 1, WORTHWHILE_STEPS, False),
    ],
)
def test_auto_compiles_long_trainings_of_one_process_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch,
    wish: compiling.Wish,
    device: str,
    num_ranks: int,
    num_steps: int,
    expected: bool,
) -> None:
    monkeypatch.setattr(compiling, "can_compile", lambda: True)
    found, _ = decide(wish, device=torch.device(device), num_ranks=num_ranks, num_steps=num_steps)
    assert found is expected


def test_without_a_compiler_auto_goes_on_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiling, "can_compile", lambda: False)
    found, remark = decide("auto", device=CPU, num_ranks=1, num_steps=WORTHWHILE_STEPS)
    assert not found
    assert "apt install g++" in remark


@pytest.mark.long
def test_inductor_trains_as_eager_does_and_repeats_its_bits() -> None:
    if not compiling.can_compile():
        pytest.skip("no C++ compiler")

    def train(scaling: Scaling) -> list[torch.Tensor]:
        torch.manual_seed(0)
        unit = spread(Unit(), scaling, Ranks())
        optimizer = torch.optim.SGD(unit.parameters(), lr=0.1)
        for step in range(6):
            loss = unit(torch.randn(4 + step % 2, 5)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return [value.detach().clone() for value in unit.parameters()]

    eager, first, again = (train(Scaling(compiles=wish)) for wish in ("off", "on", "on"))
    for plain, one, two in zip(eager, first, again, strict=True):
        torch.testing.assert_close(one, plain)
        assert torch.equal(one, two)
