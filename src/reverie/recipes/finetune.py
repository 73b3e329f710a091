"""A finished model learns further: first its tokenizer, then, on fresh latents, its dynamics."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from reverie.core.config import added, to_dict
from reverie.core.errors import ConfigError
from reverie.data.sampling import Balance
from reverie.data.store import EpisodeStore
from reverie.hallucination.coverage import TARGET_SHARE, targeted_weights
from reverie.models.dynamics.net import DynamicsNet
from reverie.models.dynamics.objective import DynamicsObjective, ObjectiveConfig
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.load import load_world_model, make_tokenizer, read_manifest, weights_hash
from reverie.recipes.extend import copy_heads, extend_world
from reverie.train.dynamics import DynamicsTrainingConfig, cache_latents, train_dynamics
from reverie.train.loop import FitConfig
from reverie.train.optim import OptimConfig
from reverie.train.phase import PhaseFolder, Surroundings
from reverie.train.tokenizer import TokenizerTrainingConfig, train_tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneConfig:
    """How a model of the pocket's size learns a task more on two CPU cores."""

    target_share: float = TARGET_SHARE
    """Share of all windows that come from the targeted tasks; the rest keeps the old ones alive."""
    balance: Balance | None = added(None)
    """How all tasks are balanced instead, whether targeted or not."""
    tokenizer_training: TokenizerTrainingConfig = TokenizerTrainingConfig(
        fit=FitConfig(total_steps=2000, log_every_steps=100, save_every_steps=0),
        optim=OptimConfig(lr=5e-4, schedule="linear", warmup_share=0.02, floor=0.02),
    )
    objective: ObjectiveConfig = ObjectiveConfig(
        total_steps=1000,
        # The model knows coarse steps and heads already: both train from the first step.
        bootstrap_start=0.0,
        head_start=0.0,
        paired_fraction=0.8,
        bootstrap_fraction=0.375,
        image_only_fraction=0.1,
    )
    dynamics_training: DynamicsTrainingConfig = DynamicsTrainingConfig(
        fit=FitConfig(total_steps=1000, log_every_steps=50, save_every_steps=0),
        optim=OptimConfig(lr=3e-4),
        batch_size=10,
        precision="auto",
    )

    def __post_init__(self) -> None:
        """Refuse shares that are none, and schedules that disagree."""
        if not 0 < self.target_share < 1:
            raise ConfigError(
                f"target_share must lie between 0 and 1, got {self.target_share}. Try 0.5."
            )
        total = self.dynamics_training.fit.total_steps
        if self.objective.total_steps != total:
            raise ConfigError(
                f"The objective is scheduled for {self.objective.total_steps} steps, the training "
                f"has {total}. Set finetune.objective.total_steps={total} too."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneJob:
    """One finetuning: from which model, on which data."""

    base: Path
    store: Path
    targets: tuple[str, ...]
    config: FinetuneConfig = field(default_factory=FinetuneConfig)


def finetune(job: FinetuneJob, around: Surroundings) -> ShortcutWorld:
    """Finetune tokenizer and dynamics of a model; resumes by itself.

    The tokenizer comes first and all latents are encoded again: finetuning the dynamics alone
    leaves a model that cannot see the new task.

    Args:
        job: What from what.
        around: Folder of the phases, seed, ranks, audience.
    """
    store = EpisodeStore.open(job.store)
    manifest = read_manifest(job.base)
    base = extend_world(load_world_model(job.base, device=around.ranks.device), job.targets)
    config = fit_windows(job.config, base)
    stored = tuple(sorted({entry.task for entry in store.index}))
    key = _key(job, base, store)
    tokenizer = make_tokenizer(manifest.tokenizer_name, manifest.tokenizer)
    tokenizer.load_state_dict(base.tokenizer.state_dict())  # type: ignore[attr-defined]
    train_tokenizer(
        tokenizer.train().requires_grad_(True),
        store,
        _balanced(config.tokenizer_training, job, stored),
        folder=PhaseFolder(path=around.folder / "tokenizer", config=key),
        around=around,
        # Latents that were never brought to unit std are what this dynamics network knows.
        sets_scale=math.isfinite(base.latent_limit),
    )
    latents = cache_latents(tokenizer, store, around.folder / "latents", around=around)
    base = _around(tokenizer, base)
    objective = _objective(base, config.objective)
    train_dynamics(
        objective,
        store,
        latents,
        _balanced(config.dynamics_training, job, stored),
        folder=PhaseFolder(path=around.folder / "dynamics", config=key),
        around=around,
    )
    world = _around(tokenizer, base, objective).to(around.ranks.device)
    return world.eval().requires_grad_(False)


Trainable = TypeVar("Trainable", TokenizerTrainingConfig, DynamicsTrainingConfig)


def _balanced(config: Trainable, job: FinetuneJob, stored: Sequence[str]) -> Trainable:
    if job.config.balance is not None:
        return replace(config, strategy=job.config.balance)
    targets = [task for task in job.targets if task in stored]
    weights = targeted_weights(stored, targets, job.config.target_share)
    return replace(config, task_weights=weights)


def _objective(base: ShortcutWorld, config: ObjectiveConfig) -> DynamicsObjective:
    objective = DynamicsObjective(
        DynamicsNet(base.net.config), base.heads, config, latent_limit=base.latent_limit
    )
    objective.net.load_state_dict(base.net.state_dict())
    copy_heads(base, objective)
    return objective


def _around(
    tokenizer: nn.Module, base: ShortcutWorld, trained: DynamicsObjective | None = None
) -> ShortcutWorld:
    """Return the base, or what was trained from it, with another tokenizer and the same heads."""
    source = base if trained is None else trained
    return ShortcutWorld(
        tokenizer,
        source.net,
        source.reward_head if base.reward_head is not None else None,
        source.continue_head if base.continue_head is not None else None,
        source.policy_head,
    )


def fit_windows(config: FinetuneConfig, world: ShortcutWorld) -> FinetuneConfig:
    """Lengthen windows that are too short for a model: it must be trained with a full context.

    Fewer of them make a batch then, about as many frames as before.
    """
    looks: Any = world.tokenizer
    context = world.net.config.context
    return replace(
        config,
        tokenizer_training=_lengthened(
            config.tokenizer_training, getattr(looks.config, "context", 1)
        ),
        dynamics_training=_lengthened(config.dynamics_training, context + max(1, context // 4)),
    )


def _lengthened(config: Trainable, num_frames: int) -> Trainable:
    if config.window_length >= num_frames:
        return config
    frames = config.batch_size * config.window_length
    return replace(config, window_length=num_frames, batch_size=max(2, round(frames / num_frames)))


def _key(job: FinetuneJob, base: ShortcutWorld, store: EpisodeStore) -> dict[str, Any]:
    return {
        "base": weights_hash(base),
        "targets": list(job.targets),
        "episodes": [entry.id for entry in store.index],
        **to_dict(job.config),
    }
