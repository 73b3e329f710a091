"""A finished model learns further: first its tokenizer, then, on fresh latents, its dynamics."""

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
from reverie.models.dynamics.heads import ContinueHead, HeadsConfig, RewardHead
from reverie.models.dynamics.net import DynamicsNet
from reverie.models.dynamics.objective import DynamicsObjective, ObjectiveConfig
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.load import load_world_model, make_tokenizer, read_manifest, weights_hash
from reverie.recipes.base import terminating
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


def extend_world(
    world: ShortcutWorld, tokenizer: nn.Module, tasks: tuple[str, ...]
) -> ShortcutWorld:
    """Return the same model, same weights, that also has a place for further tasks.

    Args:
        world: The model; its network and heads are copied.
        tokenizer: What the result sees with.
        tasks: Names to add; known ones change nothing.
    """
    known = world.tasks + tuple(task for task in tasks if task not in world.tasks)
    heads = replace(_heads_of(world), terminating_tasks=terminating(known))
    width = world.net.config.stack.width
    copy = ShortcutWorld(
        tokenizer,
        DynamicsNet(replace(world.net.config, tasks=known)),
        RewardHead(width, heads),
        ContinueHead(width, heads),
    )
    for name in ("net", "reward_head", "continue_head"):
        getattr(copy, name).load_state_dict(getattr(world, name).state_dict())
    return copy.to(world.device).eval().requires_grad_(False)


def load_extended(folder: Path, tasks: tuple[str, ...]) -> ShortcutWorld:
    """Load a model with a place for further tasks."""
    world = load_world_model(folder)
    assert isinstance(world.tokenizer, nn.Module)
    return extend_world(world, world.tokenizer, tasks)


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
    base = load_extended(job.base, job.targets)
    stored = tuple(sorted({entry.task for entry in store.index}))
    key = _key(job, base, store)
    tokenizer = make_tokenizer(manifest.tokenizer_name, manifest.tokenizer)
    tokenizer.load_state_dict(base.tokenizer.state_dict())  # type: ignore[attr-defined]
    train_tokenizer(
        tokenizer.train().requires_grad_(True),
        store,
        _balanced(job.config.tokenizer_training, job, stored),
        folder=PhaseFolder(path=around.folder / "tokenizer", config=key),
        around=around,
    )
    latents = cache_latents(tokenizer, store, around.folder / "latents", around=around)
    objective = _objective(base, tokenizer, job.config.objective)
    train_dynamics(
        objective,
        store,
        latents,
        _balanced(job.config.dynamics_training, job, stored),
        folder=PhaseFolder(path=around.folder / "dynamics", config=key),
        around=around,
    )
    return (
        ShortcutWorld(tokenizer, objective.net, objective.reward_head, objective.continue_head)
        .eval()
        .requires_grad_(False)
    )


Trainable = TypeVar("Trainable", TokenizerTrainingConfig, DynamicsTrainingConfig)


def _balanced(config: Trainable, job: FinetuneJob, stored: Sequence[str]) -> Trainable:
    if job.config.balance is not None:
        return replace(config, strategy=job.config.balance)
    targets = [task for task in job.targets if task in stored]
    weights = targeted_weights(stored, targets, job.config.target_share)
    return replace(config, task_weights=weights)


def _heads_of(world: ShortcutWorld) -> HeadsConfig:
    if world.reward_head is None:
        raise ConfigError(
            "This model has no reward head, and finetuning trains one. Train the heads first."
        )
    return world.reward_head.config


def _objective(
    base: ShortcutWorld, tokenizer: nn.Module, config: ObjectiveConfig
) -> DynamicsObjective:
    scale = tokenizer.spec.scale  # type: ignore[union-attr]
    objective = DynamicsObjective(
        DynamicsNet(base.net.config),
        _heads_of(base),
        config,
        latent_limit=1 / scale,  # type: ignore[operator]
    )
    for name in ("net", "reward_head", "continue_head"):
        getattr(objective, name).load_state_dict(getattr(base, name).state_dict())
    return objective


def _key(job: FinetuneJob, base: ShortcutWorld, store: EpisodeStore) -> dict[str, Any]:
    return {
        "base": weights_hash(base),
        "targets": list(job.targets),
        "episodes": [entry.id for entry in store.index],
        **to_dict(job.config),
    }
