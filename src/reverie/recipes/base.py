"""What a run is: one frozen config that says everything, from data to evaluation."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from reverie.collect.order import CollectOrder
from reverie.collect.policies import POLICIES
from reverie.core.config import added
from reverie.core.errors import ConfigError
from reverie.core.registry import unknown_name_message
from reverie.envs.registry import task_spec
from reverie.models.dynamics.heads import HeadsConfig
from reverie.models.dynamics.net import DynamicsConfig
from reverie.models.dynamics.objective import ObjectiveConfig
from reverie.models.language import LanguageSource
from reverie.models.load import StoredPrecision
from reverie.models.perceptual import check_perceptual
from reverie.models.presets import TokenizerConfig
from reverie.models.tokenizer.conv import ConvTokenizerConfig
from reverie.recipes.evaluation import EvaluationOrder
from reverie.train.dynamics import DynamicsTrainingConfig
from reverie.train.tokenizer import TokenizerTrainingConfig

Recipe = Callable[[tuple[str, ...]], "RunConfig"]
"""Makes the config of a run for the given tasks; an empty tuple means the recipe's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A further training of the dynamics, begun from the averaged weights of the one before."""

    name: str
    """Also the name of its folder."""
    training: DynamicsTrainingConfig
    objective: ObjectiveConfig
    trains: Literal["everything", "heads"] = "everything"
    """``heads`` leaves the transformer frozen."""


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
    tokenizer: TokenizerConfig
    tokenizer_training: TokenizerTrainingConfig
    dynamics: DynamicsConfig
    heads: HeadsConfig
    objective: ObjectiveConfig
    dynamics_training: DynamicsTrainingConfig
    evaluation: EvaluationOrder = field(default_factory=EvaluationOrder)
    """What is measured at the end, on fresh episodes; changing it repeats only that."""
    stored_precision: StoredPrecision = "float32"
    """Of the weights in the finished model's files; ``float16`` halves what is shipped."""
    stages: tuple[Stage, ...] = added(())
    """What follows the first training of the dynamics, in this order."""
    language: LanguageSource = added("one-hot")
    """What the agent tokens are told of a task."""
    language_file: str = added("")
    """For ``language=stored``: the JSON file of embeddings."""

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer in its registry."""
        return "conv" if isinstance(self.tokenizer, ConvTokenizerConfig) else "causal"


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
    size, read, fields = (data.frame.height_px, data.frame.width_px), *_frame_size(tokenizer)
    if size != read:
        raise ConfigError(
            f"The data has frames of {size[0]}x{size[1]}, the tokenizer reads "
            f"{read[0]}x{read[1]}. Set data.frame.height_px, "
            f"data.frame.width_px and {fields} alike."
        )
    _check_schedules(config)
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


def _frame_size(tokenizer: TokenizerConfig) -> tuple[tuple[int, int], str]:
    if isinstance(tokenizer, ConvTokenizerConfig):
        return (tokenizer.frame_px, tokenizer.frame_px), "tokenizer.frame_px"
    size = (tokenizer.height_px, tokenizer.width_px)
    return size, "tokenizer.height_px and tokenizer.width_px"


def _check_schedules(config: RunConfig) -> None:
    first = Stage(name="dynamics", training=config.dynamics_training, objective=config.objective)
    names: list[str] = []
    for stage in (first, *config.stages):
        total_steps = stage.training.fit.total_steps
        if stage.objective.total_steps != total_steps:
            path = "objective" if stage is first else f"objective (of the stage '{stage.name}')"
            raise ConfigError(
                f"The objective is scheduled for {stage.objective.total_steps} steps, the "
                f"training has {total_steps}. Set {path}.total_steps={total_steps} too."
            )
        if stage.name in names or stage.name in ("tokenizer", "latents", "data", "model", "report"):
            raise ConfigError(f"Give every stage a name of its own, got '{stage.name}' again.")
        names.append(stage.name)
    if config.dynamics.embeds_tasks != (config.language != "one-hot"):
        raise ConfigError(
            f"language '{config.language}' and dynamics.embeds_tasks "
            f"{config.dynamics.embeds_tasks} do not fit: a table of embeddings goes with every "
            f"language but 'one-hot'."
        )


def _check_late_needs(config: RunConfig) -> None:
    """Refuse now what would otherwise be noticed only after some phases have been trained."""
    data = config.data
    POLICIES.target(config.evaluation.behaviour)
    side = min(data.frame.height_px, data.frame.width_px)
    check_perceptual(config.tokenizer_training.perceptual, side_px=side)
    stages = (config.dynamics_training, *(stage.training for stage in config.stages))
    for training in (config.tokenizer_training, *stages):
        for name in training.task_weights:
            if name not in data.tasks:
                hint = f"The data has: {', '.join(data.tasks)}"
                raise ConfigError(unknown_name_message("task", name, data.tasks, hint))
    longest = {
        name: min(max(data.step_limits, default=sys.maxsize), task_spec(name).max_steps) + 1
        for name in data.tasks
    }
    task = min(data.tasks, key=lambda name: longest[name])
    phases = {"tokenizer_training": config.tokenizer_training}
    phases |= {"dynamics_training": max(stages, key=lambda training: training.window_length)}
    for phase, training in phases.items():
        if training.window_length > longest[task]:
            raise ConfigError(
                f"{phase}.window_length is {training.window_length}, and episodes of '{task}' have "
                f"at most {longest[task]} frames. Set {phase}.window_length={longest[task]} or "
                f"less, or raise data.step_limits."
            )
    # Long windows come from the tasks that have any; the log names those that have none.
    long_length = max(training.longest for training in stages)
    if long_length > max(longest.values()):
        raise ConfigError(
            f"dynamics_training.long_length is {long_length}, and no episode has more than "
            f"{max(longest.values())} frames. Set dynamics_training.long_length="
            f"{max(longest.values())} or less, or raise data.step_limits."
        )


def terminating(tasks: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the tasks that can end by themselves, before their time limit."""
    return tuple(name for name in tasks if task_spec(name).can_terminate)
