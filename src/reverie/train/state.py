"""Everything of a training that must survive a restart, and how it becomes a checkpoint."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from reverie.core.errors import CheckpointError
from reverie.core.seeds import child_seed
from reverie.parallel.checkpoint import Snapshot, check_tensors_fit
from reverie.parallel.ranks import Ranks
from reverie.parallel.shard import fill, placed_like

MAX_EMA_DECAY = 0.999
"""Averages over about the last thousand steps (section 5 of the model's specification)."""


class Resumable(Protocol):
    """What draws the batches: its whole position is JSON."""

    def state_dict(self) -> dict[str, Any]:
        """Return the position after the last batch that was handed out."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position."""
        ...


class Average:
    """The exponential moving average of a module's trainable parameters."""

    def __init__(self, module: nn.Module, max_decay: float = MAX_EMA_DECAY) -> None:
        """Start at the present values."""
        self._max_decay = max_decay
        self.tensors = {name: value.detach().clone() for name, value in _trainable(module)}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the module's values after optimiser step ``step`` (from 0)."""
        values = [value.detach() for _, value in _trainable(module)]
        weight = 1.0 - ema_decay(step, self._max_decay)
        torch._foreach_lerp_(list(self.tensors.values()), values, weight)

    @torch.no_grad()
    def swap(self, module: nn.Module) -> None:
        """Exchange the average and the module's values; a second call undoes it."""
        for name, value in _trainable(module):
            kept = value.detach().clone()
            value.copy_(self.tensors[name])
            self.tensors[name].copy_(kept)


@dataclass(kw_only=True, slots=True, eq=False)
class TrainState:
    """A training between two steps."""

    objective: nn.Module
    """The unwrapped objective: networks, heads, running statistics. Perhaps in slices."""
    average: Average
    optimizer: torch.optim.Optimizer
    rng: torch.Generator
    """Draws everything random inside the loss; one per rank."""
    sampler: Resumable
    twin: nn.Module | None = None
    """Where each rank trains slices: the whole objective that evaluations and results look at,
    into which slices are gathered."""
    step: int = 0
    """Optimiser steps done."""
    elapsed_s: float = 0.0
    """Training time so far, restarts included; for people only."""

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside the block the whole objective has the averaged weights and does not train.

        Every rank must enter together.
        """
        if self.twin is not None:
            self.keep_average()
            self.twin.eval()
            yield
            return
        self.average.swap(self.objective)
        was_training = self.objective.training
        self.objective.eval()
        try:
            yield
        finally:
            self.objective.train(was_training)
            self.average.swap(self.objective)

    def keep_average(self) -> None:
        """Leave the averaged weights in the whole objective.

        Every rank must call this together.
        """
        if self.twin is None:
            self.average.swap(self.objective)
        else:
            fill(self.twin, self.objective.state_dict() | self.average.tensors)


def ema_decay(step: int, max_decay: float = MAX_EMA_DECAY) -> float:
    """Return the decay of the average at step k: min(max_decay, (1 + k) / (10 + k))."""
    return min(max_decay, (1 + step) / (10 + step))


def to_snapshot(state: TrainState, ranks: Ranks, *, kind: str, config: dict[str, Any]) -> Snapshot:
    """Copy nothing, name everything: the tensors of the snapshot are the live ones."""
    optimizer_tensors, optimizer_scalars = _optimizer_parts(state)
    rngs = ranks.gather(state.rng.get_state())
    return Snapshot(
        kind=kind,
        step=state.step,
        config=config,
        tensors={
            "weights": state.objective.state_dict(),
            "ema": state.average.tensors,
            "optimizer": optimizer_tensors,
            "generators": {f"rank{rank}": value for rank, value in enumerate(rngs)},
        },
        scalars={
            "elapsed_s": state.elapsed_s,
            "sampler": state.sampler.state_dict(),
            "optimizer": optimizer_scalars,
        },
    )


@torch.no_grad()
def restore(state: TrainState, snapshot: Snapshot, ranks: Ranks) -> None:
    """Put a snapshot into a freshly built state, strictly; the number of ranks may be another.

    Raises:
        CheckpointError: Names or shapes are not those of the state.
    """
    kind, tensors = snapshot.kind, snapshot.tensors
    missing = {"weights", "ema", "optimizer", "generators"} - tensors.keys()
    if missing:
        raise CheckpointError(
            f"The checkpoint at step {snapshot.step} has no {', '.join(sorted(missing))}. It was "
            f"not written by 'reverie train'; train again under a new name."
        )
    check_tensors_fit(
        tensors["weights"], state.objective.state_dict(), what=f"weights of the {kind}"
    )
    check_tensors_fit(tensors["ema"], state.average.tensors, what=f"averages of the {kind}")
    for name, value in state.objective.state_dict().items():
        value.copy_(placed_like(tensors["weights"][name], value))
    for name, value in state.average.tensors.items():
        value.copy_(placed_like(tensors["ema"][name], value))
    _load_optimizer(state, tensors["optimizer"], snapshot.scalars["optimizer"])
    _load_generator(state, tensors["generators"], ranks)
    state.sampler.load_state_dict(snapshot.scalars["sampler"])
    state.step = snapshot.step
    state.elapsed_s = snapshot.scalars["elapsed_s"]


def _load_generator(state: TrainState, saved: Mapping[str, Tensor], ranks: Ranks) -> None:
    # Other ranks than before: those that were there go on, further ones branch off the first.
    mine = saved.get(f"rank{ranks.rank}")
    state.rng.set_state(saved["rank0"] if mine is None else mine)
    if mine is None:
        state.rng.manual_seed(child_seed(state.rng.initial_seed(), "rank", ranks.rank))


def _trainable(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, value) for name, value in module.named_parameters() if value.requires_grad]


def _optimizer_parts(state: TrainState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    # torch numbers parameters by their order in the groups; names survive a reordering.
    names = _parameter_names(state)
    raw = state.optimizer.state_dict()
    tensors = {
        f"{names[index]}.{key}": value
        for index, entry in raw["state"].items()
        for key, value in entry.items()
    }
    groups = [
        {"parameters": [names[index] for index in group["params"]]} for group in raw["param_groups"]
    ]
    return tensors, {"kind": type(state.optimizer).__name__, "groups": groups}


def _load_optimizer(
    state: TrainState, tensors: Mapping[str, Tensor], scalars: dict[str, Any]
) -> None:
    expected = _optimizer_parts(state)[1]
    if scalars != expected:
        raise CheckpointError(
            f"The checkpoint was trained by {scalars['kind']} over other parameter groups than "
            f"this {expected['kind']}. Use the same settings, or train under a new name."
        )
    index = {name: number for number, name in _parameter_names(state).items()}
    weights = dict(state.objective.named_parameters())
    entries: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        parameter, _, key = name.rpartition(".")
        like = weights[parameter]
        placed = placed_like(value, like) if value.shape == like.shape else value
        entries.setdefault(index[parameter], {})[key] = placed
    raw = state.optimizer.state_dict()
    state.optimizer.load_state_dict({"state": entries, "param_groups": raw["param_groups"]})


def _parameter_names(state: TrainState) -> dict[int, str]:
    by_identity = {id(value): name for name, value in state.objective.named_parameters()}
    ordered = [value for group in state.optimizer.param_groups for value in group["params"]]
    return {index: by_identity[id(value)] for index, value in enumerate(ordered)}
