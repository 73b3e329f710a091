"""What a run is: one frozen config that says everything, from data to evaluation."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from reverie.collect.order import CollectOrder
from reverie.collect.policies import POLICIES
from reverie.core.config import replace_path
from reverie.core.errors import ConfigError
from reverie.core.registry import unknown_name_message
from reverie.envs.registry import task_spec
from reverie.models.dynamics.heads import HeadsConfig
from reverie.models.dynamics.net import DynamicsConfig
from reverie.models.dynamics.objective import ObjectiveConfig
from reverie.models.load import StoredPrecision
from reverie.models.tokenizer.conv import ConvTokenizerConfig
from reverie.recipes.evaluation import EvaluationOrder
from reverie.train.dynamics import DynamicsTrainingConfig
from reverie.train.tokenizer import TokenizerTrainingConfig

Recipe = Callable[[tuple[str, ...]], "RunConfig"]
"""Makes the config of a run for the given tasks; an empty tuple means the recipe's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """A whole run: what is collected, what is built, how it is trained."""

    recipe: str
    seed: int = 0
    """The one root; every phase has named children of it."""
    data: CollectOrder
    """What is learned from."""
    held_out_episodes_per_task: int
    """Episodes that are collected from other seeds and never learned from."""
    tokenizer: ConvTokenizerConfig
    tokenizer_training: TokenizerTrainingConfig
    dynamics: DynamicsConfig
    heads: HeadsConfig
    objective: ObjectiveConfig
    dynamics_training: DynamicsTrainingConfig
    evaluation: EvaluationOrder = field(default_factory=EvaluationOrder)
    """What is measured at the end, on fresh episodes; changing it repeats only that."""
    stored_precision: StoredPrecision = "float32"
    """Of the weights in the finished model's files; ``float16`` halves what is shipped."""


def check_run(config: RunConfig) -> None:
    """Refuse parts that do not fit each other.

    Raises:
        ConfigError: Says which settings disagree and what to set.
    """
    tokenizer, dynamics, data = config.tokenizer, config.dynamics, config.data
    tokens = (tokenizer.num_tokens, tokenizer.latent_channels)
    if tokens != (dynamics.num_latent_tokens, dynamics.num_latent_channels):
        raise ConfigError(
            f"The tokenizer makes {tokens[0]} tokens of {tokens[1]} channels, the dynamics reads "
            f"{dynamics.num_latent_tokens} of {dynamics.num_latent_channels}. Set "
            f"dynamics.num_latent_tokens={tokens[0]} dynamics.num_latent_channels={tokens[1]}."
        )
    size = (data.frame.height_px, data.frame.width_px)
    if size != (tokenizer.frame_px, tokenizer.frame_px):
        raise ConfigError(
            f"The data has frames of {size[0]}x{size[1]}, the tokenizer reads "
            f"{tokenizer.frame_px}x{tokenizer.frame_px}. Set data.frame.height_px, "
            f"data.frame.width_px and tokenizer.frame_px alike."
        )
    total_steps = config.dynamics_training.fit.total_steps
    if config.objective.total_steps != total_steps:
        raise ConfigError(
            f"The objective is scheduled for {config.objective.total_steps} steps, the training "
            f"has {total_steps}. Set objective.total_steps={total_steps} too."
        )
    if dynamics.tasks != data.tasks:
        raise ConfigError(
            f"The dynamics knows the tasks {dynamics.tasks}, the data has {data.tasks}. Choose "
            f"tasks with --tasks, which sets both."
        )
    widest = max(data.tasks, key=lambda name: task_spec(name).action.width)
    width = task_spec(widest).action.width
    if width > dynamics.action_width:
        raise ConfigError(
            f"Actions of '{widest}' have {width} lanes, the dynamics has room for "
            f"{dynamics.action_width}. Set dynamics.action_width={width}."
        )
    if config.held_out_episodes_per_task < 1:
        raise ConfigError(
            "held_out_episodes_per_task must be at least 1: without held-out episodes nothing "
            "can be evaluated."
        )
    _check_late_needs(config)


def _check_late_needs(config: RunConfig) -> None:
    """Refuse now what would otherwise be noticed only after some phases have been trained."""
    data = config.data
    POLICIES.target(config.evaluation.behaviour)
    for name in config.tokenizer_training.task_weights:
        if name not in data.tasks:
            hint = f"The data has: {', '.join(data.tasks)}"
            raise ConfigError(unknown_name_message("task", name, data.tasks, hint))
    longest = {
        name: min(max(data.step_limits, default=sys.maxsize), task_spec(name).max_steps) + 1
        for name in data.tasks
    }
    task = min(data.tasks, key=lambda name: longest[name])
    for phase in ("tokenizer_training", "dynamics_training"):
        length = getattr(config, phase).window_length
        if length > longest[task]:
            raise ConfigError(
                f"{phase}.window_length is {length}, and episodes of '{task}' have at most "
                f"{longest[task]} frames. Set {phase}.window_length={longest[task]} or less, or "
                f"raise data.step_limits."
            )


Config = TypeVar("Config")


def override(config: Config, settings: dict[str, Any]) -> Config:
    """Return a copy with fields changed by dotted path, such as ``{"dynamics.context": 12}``."""
    for path, value in settings.items():
        config = replace_path(config, path, value)
    return config


def terminating(tasks: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the tasks that can end by themselves, before their time limit."""
    return tuple(name for name in tasks if task_spec(name).can_terminate)
