"""Which process this is among those that train together, and what they agree on."""

import functools
import gc
import importlib
import inspect
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from reverie.core.errors import ConfigError
from reverie.parallel.device import choose_device

logger = logging.getLogger(__name__)

_LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """One process among ``num_ranks``; a lone process is rank 0 of 1."""

    rank: int = 0
    num_ranks: int = 1
    device: torch.device = torch.device("cpu")

    def __post_init__(self) -> None:
        """Refuse a rank outside the group."""
        if not 0 <= self.rank < self.num_ranks:
            raise ConfigError(
                f"A rank lies in 0 … {self.num_ranks - 1} for {self.num_ranks} processes, "
                f"got {self.rank}. Start training with torchrun or as one process."
            )

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to people."""
        return self.rank == 0

    def wrap(self, objective: nn.Module) -> nn.Module:
        """Return the objective with gradient averaging; one that needs none is returned itself.

        Buffers are not broadcast: running statistics are already means over ranks. Parameters
        may be unused: heads join late.
        """
        if self.num_ranks == 1 or isinstance(objective, FSDPModule):
            return objective
        known = inspect.signature(DistributedDataParallel.__init__).parameters
        # torch 2.13 renames the option; the old name warns there and is all that 2.11 knows.
        name = next(n for n in ("forward_sync_buffers", "broadcast_buffers") if n in known)
        options: dict[str, Any] = {name: False, "find_unused_parameters": True}
        return DistributedDataParallel(objective, **options)

    def share(self, batch_size: int) -> int:
        """Return this rank's share of the rows of a step.

        Raises:
            ConfigError: The rows cannot be divided evenly.
        """
        if batch_size % self.num_ranks:
            raise ConfigError(
                f"A batch of {batch_size} windows cannot be divided among {self.num_ranks} "
                f"processes. Choose a batch_size that is a multiple of {self.num_ranks}."
            )
        return batch_size // self.num_ranks

    def agree(self, *flags: bool) -> tuple[bool, ...]:
        """Return, for each flag, whether any rank raised it. Every rank must call this together."""
        if self.num_ranks == 1:
            return flags
        votes = torch.tensor(flags, dtype=torch.uint8, device=self.device)
        dist.all_reduce(votes, op=dist.ReduceOp.MAX)
        return tuple(bool(vote) for vote in votes.tolist())

    def gather(self, value: Tensor) -> list[Tensor]:
        """Return the value of every rank, in the order of ranks; all must have one shape."""
        if self.num_ranks == 1:
            return [value]
        here = value.to(self.device)
        everyone = [torch.empty_like(here) for _ in range(self.num_ranks)]
        dist.all_gather(everyone, here)
        return [item.cpu() for item in everyone]

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a value over ranks. Every rank must call this together."""
        if self.num_ranks == 1:
            return value
        total = value.detach().to(self.device, copy=True)
        dist.all_reduce(total)
        return (total / self.num_ranks).to(value.device)

    def wait(self) -> None:
        """Wait until every rank is here."""
        if self.num_ranks > 1:
            dist.barrier()


@contextmanager
def setup_ranks(device: str = "auto") -> Iterator[Ranks]:
    """Join the processes that torchrun started, or be alone when it started none.

    Args:
        device: ``"auto"`` takes a CUDA device if there is one; anything else is a torch device
            name. With CUDA the ranks talk over NCCL, otherwise over gloo.
    """
    present = [name for name in _LAUNCHER_VARIABLES if name in os.environ]
    if "WORLD_SIZE" not in present or os.environ["WORLD_SIZE"] == "1":
        yield Ranks(device=choose_device(device))
        return
    if len(present) != len(_LAUNCHER_VARIABLES):
        missing = ", ".join(name for name in _LAUNCHER_VARIABLES if name not in present)
        raise ConfigError(
            f"WORLD_SIZE is set to {os.environ['WORLD_SIZE']} but {missing} is not. Start several "
            f"processes with torchrun, or unset WORLD_SIZE to train as one process."
        )
    chosen = choose_device(device, local_rank=int(os.environ["LOCAL_RANK"]))
    # Its functions take the group of the moment of the import as default arguments. Imported later
    # (DDP does), they would keep the group and its threads alive until the interpreter is gone, and
    # a thread that then asks for the interpreter's lock ends the process with SIGABRT.
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Ranks(rank=dist.get_rank(), num_ranks=dist.get_world_size(), device=chosen)
        # A rank that leaves before the others closes connections under them; gloo aborts on that.
        dist.barrier()
    finally:
        # DDP and FSDP sit in reference cycles; gloo's threads must end before the interpreter.
        _forget_meshes()
        gc.collect()
        dist.destroy_process_group()
        gc.collect()


def _forget_meshes() -> None:
    """Empty DTensor's caches of layouts: they keep device meshes, and with them the group."""
    from torch.distributed.tensor import _redistribute, debug

    # Private, and not in every torch from 2.11 on; there is no public way.
    for module, name in (
        (debug, "_clear_sharding_prop_cache"),
        (_redistribute, "clear_redistribute_planner_cache"),
    ):
        getattr(module, name, lambda: None)()
    for cached in gc.get_objects():
        is_cache = type(cached) is functools._lru_cache_wrapper
        if is_cache and cached.__module__.startswith("torch.distributed"):
            cached.cache_clear()
