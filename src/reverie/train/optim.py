"""The optimiser and its learning rate: AdamW or Muon, decay on matrices only, two schedules."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from reverie.core.config import added
from reverie.core.errors import ConfigError
from reverie.parallel.shard import is_sharded, whole
from reverie.train.muon import MuonAdamW, matrix_weights

Matrices = Literal["adamw", "muon"]


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig:
    """The optimiser and how its learning rate moves."""

    lr: float
    """Peak learning rate."""
    beta1: float = 0.9
    beta2: float = 0.95
    """0.95 rather than 0.999: runs are short and gradients change fast."""
    weight_decay: float = 0.01
    """On matrices only; gains, biases and other vectors are not pulled to zero."""
    clip_norm: float = 1.0
    """Largest gradient norm of one module of the objective; longer ones are shortened to it."""
    schedule: Literal["linear", "constant_decay"] = "constant_decay"
    """``linear`` falls from the warm-up to the end; ``constant_decay`` only in its last share."""
    warmup_share: float = 0.05
    """Share of all steps over which the rate rises from 0."""
    decay_share: float = 0.15
    """Share of all steps over which ``constant_decay`` falls."""
    floor: float = 0.0
    """Where the fall ends, as a share of ``lr``."""
    matrices: Matrices = added("adamw")
    """What steps the weights of linear and convolutional layers; the rest is AdamW's. ``muon``
    learns as much in a half to a third of the steps, and needs whole matrices: not with FSDP."""

    def __post_init__(self) -> None:
        """Refuse rates and shares that cannot work."""
        if self.lr <= 0 or self.clip_norm <= 0:
            raise ConfigError(
                f"lr and clip_norm must be positive, got {self.lr} and {self.clip_norm}. "
                f"Try 0.001 and 1.0."
            )
        if min(self.warmup_share, self.decay_share) < 0 or self.warmup_share + self.decay_share > 1:
            raise ConfigError(
                f"warmup_share and decay_share are shares of one run, got {self.warmup_share} and "
                f"{self.decay_share}. Try 0.05 and 0.15."
            )


def make_optimizer(module: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """Build the optimiser of all trainable parameters; those with two axes or more decay.

    Raises:
        ConfigError: Muon was asked for, and ranks hold only slices of matrices.
    """
    trainable = [value for value in module.parameters() if value.requires_grad]
    matrices = matrix_weights(module) if config.matrices == "muon" else []
    if matrices and is_sharded(module):
        raise ConfigError(
            "optim.matrices is 'muon', which needs whole matrices, and FSDP leaves each rank a "
            "slice of them. Train with --parallel ddp, or set optim.matrices=adamw."
        )
    by_muon = {id(value) for value in matrices}
    rest = [value for value in trainable if id(value) not in by_muon]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    betas = (config.beta1, config.beta2)
    if matrices:
        return MuonAdamW(
            matrices, groups, lr=config.lr, betas=betas, weight_decay=config.weight_decay
        )
    return torch.optim.AdamW(groups, lr=config.lr, betas=betas, fused=True)


def lr_factor(config: OptimConfig, step: int, total_steps: int) -> float:
    """Return the share of the peak rate that step ``step`` (from 0) of a run uses."""
    warmup = config.warmup_share * total_steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    decay = config.decay_share * total_steps
    if config.schedule == "linear":
        decay = total_steps - warmup
    left = (total_steps - step) / decay if decay > 0 else 1.0
    return config.floor + (1 - config.floor) * min(1.0, left)


def set_lr(
    optimizer: torch.optim.Optimizer, config: OptimConfig, *, step: int, total_steps: int
) -> float:
    """Set the rate of a step; a pure function of the step, so nothing of it needs saving."""
    rate = config.lr * lr_factor(config, step, total_steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def clip_gradients(module: nn.Module, max_norm: float) -> Tensor:
    """Shorten the gradient of every direct child module; return the whole norm before that.

    Children are clipped apart, so that a burst in the heads does not stop the transformer.
    """
    norms = [
        whole(nn.utils.clip_grad_norm_(list(child.parameters()), max_norm))
        for child in module.children()
        if any(value.grad is not None for value in child.parameters())
    ]
    own = [value for value in module.parameters(recurse=False) if value.grad is not None]
    if own:
        norms.append(whole(nn.utils.clip_grad_norm_(own, max_norm)))
    return torch.stack(norms).norm()
