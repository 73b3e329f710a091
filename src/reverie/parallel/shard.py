"""Spreading one module over several processes, from outside: DDP, FSDP2, recomputation, compiling.

A module knows nothing of this. It marks the parts that are gathered, recomputed and compiled as one
with a class attribute ``is_shard_unit = True``; what is outside such parts is the root's.
"""

import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils.checkpoint import checkpoint

from reverie.parallel.compiling import Wish, compile_training
from reverie.parallel.ranks import Ranks


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """How a training is spread over a machine; none of it changes what is learned."""

    strategy: Literal["ddp", "fsdp"] = "ddp"
    """``ddp`` copies everything to every rank; ``fsdp`` leaves each rank a slice of weights,
    averages and optimiser (FSDP2), for models that do not fit otherwise."""
    saves_memory: bool = False
    """Recompute activations in the backward pass: a third more work, a fraction of the memory."""
    compiles: Wish = "off"
    """Compile each unit with torch.compile; ``auto`` where that pays (``parallel.compiling``)."""
    compile_backend: str = "inductor"
    """Who compiles; ``eager`` only traces, which is what tests can afford."""


def shard_units(module: nn.Module) -> list[nn.Module]:
    """Return the parts that a module declares as units, in their order."""
    return [part for part in module.modules() if getattr(type(part), "is_shard_unit", False)]


def spread(objective: nn.Module, scaling: Scaling, ranks: Ranks) -> nn.Module:
    """Return the module to train: the objective itself, or a sharded twin of it.

    Args:
        objective: On its device. With ``fsdp`` and several ranks it is left as it is, to be filled
            with gathered weights (``fill``) when it is evaluated or kept.
        scaling: How.
        ranks: This process among the others.
    """
    is_sharded = scaling.strategy == "fsdp" and ranks.num_ranks > 1
    trained = copy.deepcopy(objective) if is_sharded else objective
    for unit in shard_units(trained):
        if scaling.saves_memory:
            # Set on the instance, from outside: the layer's own code stays as it is.
            unit.forward = functools.partial(checkpoint, unit.forward, use_reentrant=False)
        if scaling.compiles == "on":
            compile_training(unit, scaling.compile_backend)
    if is_sharded:
        mesh = init_device_mesh(ranks.device.type, (ranks.num_ranks,))
        for unit in shard_units(trained):
            fully_shard(unit, mesh=mesh)
        fully_shard(trained, mesh=mesh)
    return trained


def is_sharded(module: nn.Module) -> bool:
    """Tell whether each rank holds only slices of a module's weights."""
    return isinstance(module, FSDPModule)


def local(value: Tensor) -> Tensor:
    """Return what this rank holds of a tensor: its slice, or all of it."""
    return value.to_local() if isinstance(value, DTensor) else value


def whole(value: Tensor) -> Tensor:
    """Return a tensor with all its slices. Every rank must call this together."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def placed_like(value: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor cut into slices as another one is; every rank must hold the same."""
    if not isinstance(like, DTensor) or isinstance(value, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


@torch.no_grad()
def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors, whole or in slices, into a whole module. Every rank must call this together."""
    for name, value in module.state_dict().items():
        value.copy_(whole(tensors[name]))
