"""The larger models: one consumer GPU, and the geometry and road of MMBench2's release."""

from dataclasses import replace

from reverie.collect.order import CollectOrder
from reverie.core.types import FrameSpec
from reverie.envs.registry import task_names, task_spec
from reverie.evaluate.action_following import FollowingConfig
from reverie.evaluate.evaluation import EvaluationConfig
from reverie.evaluate.live import LiveConfig
from reverie.models import presets
from reverie.models.dynamics.heads import HeadsConfig
from reverie.models.dynamics.net import DynamicsConfig
from reverie.models.dynamics.objective import ObjectiveConfig
from reverie.models.dynamics.shortcut import ShortcutConfig
from reverie.nn.blocks import StackConfig
from reverie.recipes.base import RunConfig, Stage, terminating
from reverie.recipes.evaluation import EvaluationOrder
from reverie.train.dynamics import DynamicsTrainingConfig
from reverie.train.loop import FitConfig
from reverie.train.optim import OptimConfig
from reverie.train.tokenizer import TokenizerTrainingConfig

DEBUG_TASKS = ("toy-paint", "toy-fall")
_POLICIES = {"mixed": 2.0, "noise": 1.0, "random": 1.0}


def small(tasks: tuple[str, ...] = ()) -> RunConfig:
    """A model of 60 million parameters at 128x128 for one consumer GPU with 12 to 24 GB.

    Run with ``reverie train small``; by default it learns the 24 MiniArcade tasks. Nobody has
    trained it to the end yet: time and numbers are to be measured.
    """
    tasks = tasks or _default_tasks("miniarcade")
    preset, steps = presets.small(tasks), 100_000
    return RunConfig(
        recipe="small",
        data=_data(tasks, side_px=128, episodes_per_task=200),
        held_out_episodes_per_task=10,
        tokenizer=preset.tokenizer,
        dynamics=preset.dynamics,
        heads=_heads(tasks),
        tokenizer_training=TokenizerTrainingConfig(
            fit=_fit(steps),
            optim=OptimConfig(lr=3e-4),
            batch_size=16,
            window_length=16,
            precision="auto",
        ),
        objective=ObjectiveConfig(total_steps=steps),
        dynamics_training=DynamicsTrainingConfig(
            fit=_fit(steps),
            optim=OptimConfig(lr=3e-4),
            batch_size=32,
            window_length=16,
            long_length=64,
            precision="auto",
        ),
    )


def full(tasks: tuple[str, ...] = ()) -> RunConfig:
    """341 million parameters at 224x224, with this project's improvements over the release.

    Run with ``reverie train full`` under torchrun, as ``docs/scale.md`` says; by default it learns
    every task that needs no downloaded assets. The published model of this size took 58 H100-days.
    Nobody has trained this one to the end yet.
    """
    tasks = tasks or _default_tasks()
    preset = presets.full(tasks, num_kv_heads=2)
    return RunConfig(
        recipe="full",
        data=_data(tasks, side_px=224, episodes_per_task=100),
        held_out_episodes_per_task=4,
        tokenizer=preset.tokenizer,
        dynamics=replace(preset.dynamics, embeds_tasks=True),
        heads=_heads(tasks),
        language="words",
        tokenizer_training=TokenizerTrainingConfig(
            fit=_fit(300_000),
            optim=OptimConfig(lr=1e-4),
            batch_size=32,
            window_length=24,
            precision="auto",
        ),
        objective=ObjectiveConfig(total_steps=300_000),
        dynamics_training=DynamicsTrainingConfig(
            fit=_fit(300_000),
            optim=OptimConfig(lr=1e-4),
            batch_size=64,
            window_length=24,
            long_length=64,
            precision="auto",
        ),
    )


def release(tasks: tuple[str, ...] = ()) -> RunConfig:
    """The published road (arXiv 2606.27326): pretrain, coverage-aware mid-training, finetuning.

    Run with ``reverie train release`` under torchrun, as ``docs/scale.md`` says. Pretraining draws
    every frame as often as any other; mid-training draws every task as often as any other;
    finetuning goes on so with a low rate and trains the heads. Give targeted tasks more weight with
    ``task_weights`` of the last stage. Differs from the paper: 48 frames of context, no published
    weights as a start, data collected here.
    """
    config = full(tasks)
    pretrain = replace(
        config.dynamics_training, strategy="windows", window_length=24, long_length=64
    )
    middle, last = 180_000, 30_000
    return replace(
        config,
        recipe="release",
        objective=replace(config.objective, head_fraction=0.0),
        dynamics_training=pretrain,
        stages=(
            Stage(
                name="coverage-aware",
                training=replace(pretrain, strategy="tasks", fit=_fit(middle)),
                objective=_further(middle, head_fraction=0.0),
            ),
            Stage(
                name="finetuning",
                training=replace(
                    pretrain, strategy="tasks", fit=_fit(last), optim=OptimConfig(lr=3e-5)
                ),
                objective=_further(last, head_fraction=0.5),
            ),
        ),
    )


def small_debug(tasks: tuple[str, ...] = ()) -> RunConfig:
    """The twin of ``small``: the same parts, three steps each, in seconds on one core."""
    return replace(_debug(tasks), recipe="small-debug")


def full_debug(tasks: tuple[str, ...] = ()) -> RunConfig:
    """The twin of ``full``: with instructions and a policy that learns its spread."""
    config = _debug(tasks)
    return replace(
        config,
        recipe="full-debug",
        language="words",
        dynamics=replace(config.dynamics, embeds_tasks=True),
        heads=replace(config.heads, policy_std=None),
    )


def release_debug(tasks: tuple[str, ...] = ()) -> RunConfig:
    """The twin of ``release``: all three stages, and one that trains heads alone."""
    config = full_debug(tasks)
    training = config.dynamics_training
    return replace(
        config,
        recipe="release-debug",
        dynamics_training=replace(training, strategy="windows"),
        stages=(
            Stage(name="coverage-aware", training=training, objective=_further(3, 0.0)),
            Stage(name="heads", training=training, objective=_further(3, 0.5), trains="heads"),
        ),
    )


def _debug(tasks: tuple[str, ...]) -> RunConfig:
    tasks, fit = tasks or DEBUG_TASKS, FitConfig(total_steps=3, log_every_steps=1)
    layers = StackConfig(width=32, depth=2, num_heads=2, num_kv_heads=2, time_every=1)
    tokenizer = presets.causal((64, 64), 16, layers, latents=(8, 4), context=4)
    dynamics = DynamicsConfig(
        num_latent_tokens=tokenizer.num_tokens,
        num_latent_channels=tokenizer.latent_channels,
        packing=2,
        stack=replace(layers, num_kv_heads=1),
        num_registers=1,
        num_agents=2,
        language_dim=16,
        context=4,
        shortcut=ShortcutConfig(num_levels=4),
        commit_level=3,
        num_flow_steps=2,
        tasks=tasks,
    )
    return RunConfig(
        recipe="large-debug",
        data=CollectOrder(
            tasks=tasks,
            policies={"random": 1.0},
            episodes_per_task=2,
            frame=FrameSpec(height_px=64, width_px=64),
            codec="zstd",
            step_limits=(30,),
        ),
        held_out_episodes_per_task=2,
        tokenizer=tokenizer,
        tokenizer_training=TokenizerTrainingConfig(
            fit=fit, optim=OptimConfig(lr=1e-3), batch_size=2, window_length=6
        ),
        dynamics=dynamics,
        heads=HeadsConfig(
            num_distances=2,
            num_bins=15,
            terminating_tasks=terminating(tasks),
            num_policy_distances=2,
        ),
        objective=ObjectiveConfig(total_steps=3, bootstrap_start=0.3, head_start=0.6),
        dynamics_training=DynamicsTrainingConfig(
            fit=fit,
            optim=OptimConfig(lr=1e-3),
            batch_size=8,
            window_length=3,
            long_length=6,
            long_tail=0.4,
        ),
        evaluation=_debug_evaluation(),
    )


def _debug_evaluation() -> EvaluationOrder:
    following = FollowingConfig(variants=("zero",))
    return EvaluationOrder(
        live=LiveConfig(num_episodes=2, max_steps=30, num_probes=4),
        evaluation=EvaluationConfig(clips_per_episode=1, following=following),
        behaviour="random",
        has_single_substep=False,
    )


def _default_tasks(domain: str = "") -> tuple[str, ...]:
    """Return the benchmark's training tasks that need no downloaded assets."""
    specs = [task_spec(name) for name in task_names()]
    return tuple(
        spec.name
        for spec in specs
        if spec.split == "train" and spec.assets is None and domain in ("", spec.domain)
    )


def _heads(tasks: tuple[str, ...]) -> HeadsConfig:
    return HeadsConfig(terminating_tasks=terminating(tasks), num_policy_distances=8)


def _fit(total_steps: int) -> FitConfig:
    return FitConfig(
        total_steps=total_steps,
        log_every_steps=100,
        evaluate_every_steps=10_000,
        save_every_steps=0,
        save_every_s=600.0,
    )


def _further(total_steps: int, head_fraction: float) -> ObjectiveConfig:
    """Everything that begins late in a first training is there from the start."""
    return ObjectiveConfig(
        total_steps=total_steps, bootstrap_start=0.0, head_start=0.0, head_fraction=head_fraction
    )


def _data(tasks: tuple[str, ...], *, side_px: int, episodes_per_task: int) -> CollectOrder:
    return CollectOrder(
        tasks=tasks,
        policies=_POLICIES,
        episodes_per_task=episodes_per_task,
        frame=FrameSpec(height_px=side_px, width_px=side_px),
    )
