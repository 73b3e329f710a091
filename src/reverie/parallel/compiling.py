"""Compiling the units of a module for training: whether it pays, and how."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

Wish = Literal["auto", "on", "off"]

WORTHWHILE_STEPS = 1500
"""Compiling a small transformer takes a minute of two cores, and saves a tenth of a second or two
in every step."""
_MAX_SHAPES = 64
"""Kinds of rows come and go during a run, and every shape is compiled by itself."""


def decide(wish: Wish, *, device: torch.device, num_ranks: int, num_steps: int) -> tuple[bool, str]:
    """Say whether a training is compiled, and what to tell people about it.

    ``auto`` compiles what a single process trains on a CPU for long enough, if that works here.
    """
    if wish != "auto":
        return wish == "on", ""
    if device.type != "cpu" or num_ranks > 1 or num_steps < WORTHWHILE_STEPS:
        return False, ""
    if not can_compile():
        return False, (
            "layers are not compiled, which takes about twice as long: torch.compile found no "
            "working C++ compiler. On Debian and Ubuntu: apt install g++"
        )
    return True, "compiling layers; the first steps take a minute"


@functools.cache
def can_compile() -> bool:
    """Compile one line, to see whether torch finds a compiler that works."""
    try:
        with warnings.catch_warnings():
            # torch uses parts of its own that it calls deprecated.
            warnings.simplefilter("ignore")
            torch.compile(lambda x: x * 2 + 1)(torch.ones(64))
    except Exception:  # noqa: BLE001 - whatever is wrong with a compiler, training goes on without
        return False
    return True


def compile_training(unit: nn.Module, backend: str | Callable[..., Any]) -> None:
    """Compile what a module does while it trains; it evaluates as before.

    Evaluations have shapes of their own, and each would be compiled for a single use. Kernels are
    made for exact shapes: with general ones, a run that goes on after a stop would meet other
    kernels than before it, and not give the same bits.
    """
    torch._dynamo.config.recompile_limit = _MAX_SHAPES
    eager: Callable[..., Any] = unit.forward
    fast = torch.compile(eager, backend=backend, dynamic=False)

    def forward(*args: Any, **named: Any) -> Any:
        return (fast if unit.training else eager)(*args, **named)

    unit.forward = forward
