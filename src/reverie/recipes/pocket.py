"""The pocket model: MiniArcade at 64x64, from nothing to a playable dream on two CPU cores."""

from dataclasses import replace

from reverie.collect.order import CollectOrder
from reverie.core.types import FrameSpec
from reverie.evaluate.action_following import FollowingConfig
from reverie.evaluate.evaluation import EvaluationConfig
from reverie.evaluate.live import LiveConfig
from reverie.models import presets
from reverie.models.dynamics.heads import HeadsConfig
from reverie.models.dynamics.net import DynamicsConfig
from reverie.models.dynamics.objective import ObjectiveConfig
from reverie.models.dynamics.shortcut import ShortcutConfig
from reverie.models.tokenizer.conv import ConvTokenizerConfig
from reverie.nn.blocks import StackConfig
from reverie.recipes.base import RunConfig, terminating
from reverie.recipes.evaluation import EvaluationOrder
from reverie.train.dynamics import DynamicsTrainingConfig
from reverie.train.loop import FitConfig
from reverie.train.optim import OptimConfig
from reverie.train.tokenizer import TokenizerTrainingConfig

TASKS = (
    "pygame-point-maze-var1",
    "pygame-point-maze-var2",
    "pygame-point-maze-var3",
    "pygame-point-maze-var4",
    "pygame-cartpole-balance",
    "pygame-cartpole-swingup",
    "pygame-cartpole-balance-sparse",
    "pygame-cartpole-swingup-sparse",
    "pygame-cartpole-tremor",
    "pygame-pong",
    "pygame-reacher-easy",
)
DEBUG_TASKS = ("toy-paint", "toy-fall")

_FRAME_PX = 64
_STEP_LIMITS = (32, 32, 32, 32, 32, 32, 400)
"""Goals, wind and decor are drawn anew at every start: 48 long episodes a task showed too few of
them, and the tokenizer painted unseen goals where it had seen others. Seven limits and four kinds
of behaviour share no divisor, so every behaviour plays every length."""
_GRID = ShortcutConfig(num_levels=32)
_DYNAMICS_STEPS = 5_400
_TOKENIZER_STEPS = 22_000
_LOOK_OPTIM = OptimConfig(lr=2e-3, schedule="linear", warmup_share=0.0025, floor=0.02)


def pocket(tasks: tuple[str, ...] = ()) -> RunConfig:
    """A model of 1.7 million parameters that dreams eleven MiniArcade tasks.

    Run with ``reverie train pocket``. On two CPU cores with bfloat16 instructions and a C++
    compiler it takes 35 minutes: 1.5 to collect 224 thousand frames, 8.5 for the tokenizer, 21 for
    the dynamics, 3 to evaluate; longer without them. Measured so: reconstruction of 37 to 40 dB
    (reacher 33.9); in point mazes and pong action-shuffle ratios of 1.5 to 1.9 and rollout gains
    of +0.3 to +4.6 dB; the reacher is not learned. ``docs/reproduce.md`` has the table.
    """
    tasks = tasks or TASKS
    preset, frame = presets.pocket(tasks), FrameSpec(height_px=_FRAME_PX, width_px=_FRAME_PX)
    assert isinstance(preset.tokenizer, ConvTokenizerConfig)
    return RunConfig(
        recipe="pocket",
        data=CollectOrder(
            tasks=tasks,
            policies={"mixed": 2.0, "noise": 1.0, "random": 1.0},
            episodes_per_task=280,
            frame=frame,
            # WebP takes five times as long to write as these games take to play.
            codec="zstd",
            step_limits=_STEP_LIMITS,
        ),
        held_out_episodes_per_task=14,
        tokenizer=preset.tokenizer,
        tokenizer_training=TokenizerTrainingConfig(
            fit=FitConfig(
                total_steps=_TOKENIZER_STEPS,
                log_every_steps=200,
                evaluate_every_steps=5000,
                save_every_steps=0,
            ),
            optim=replace(_LOOK_OPTIM, lr=8e-3, matrices="muon"),
            task_weights={name: _look_weight(name) for name in tasks},
        ),
        # Both shortcuts are what lets thousands of steps, not millions, find that actions matter.
        dynamics=replace(preset.dynamics, uses_previous=True, shortcut=_GRID, commit_level=31),
        heads=HeadsConfig(terminating_tasks=terminating(tasks)),
        objective=ObjectiveConfig(
            total_steps=_DYNAMICS_STEPS,
            paired_fraction=0.8,
            bootstrap_fraction=0.375,
            # Every dream here starts from several real frames: few rows need to do without.
            image_only_fraction=0.1,
            head_start=0.5,
        ),
        dynamics_training=DynamicsTrainingConfig(
            fit=FitConfig(
                total_steps=_DYNAMICS_STEPS,
                log_every_steps=50,
                evaluate_every_steps=2500,
                save_every_steps=0,
            ),
            optim=OptimConfig(lr=4e-3, matrices="muon"),
            batch_size=10,
            window_length=12,
            task_weights={name: _motion_weight(name) for name in tasks},
            precision="auto",
        ),
    )


def pocket_gpu(tasks: tuple[str, ...] = ()) -> RunConfig:
    """The shipped model: wider networks, more than twice the data, six times the training.

    Run with ``reverie train pocket-gpu --num-workers 15``. On one H200 with 16 CPU cores: half a
    minute to collect 559 thousand frames, two minutes for the tokenizer, five for the dynamics.
    It dreams on two CPU cores like any other; ``docs/reproduce.md`` has its numbers.

    Against ``pocket``: half of the paired rows follow dreams of the model's own; some episodes hold
    their actions, as keys and planners do.
    """
    base = pocket(tasks)
    tokenizer = ConvTokenizerConfig(channels=(32, 64, 128, 128))
    steps = {"tokenizer": 15_000, "dynamics": 2_000}
    return replace(
        base,
        recipe="pocket-gpu",
        data=replace(
            base.data,
            policies={"mixed": 2.0, "noise": 1.0, "held": 1.0, "random": 0.5},
            episodes_per_task=700,
        ),
        tokenizer=tokenizer,
        tokenizer_training=replace(
            base.tokenizer_training,
            fit=FitConfig(
                total_steps=steps["tokenizer"],
                log_every_steps=500,
                evaluate_every_steps=0,
                save_every_steps=0,
            ),
            optim=_LOOK_OPTIM,
            batch_size=256,
        ),
        dynamics=replace(
            base.dynamics,
            stack=replace(base.dynamics.stack, width=192, num_heads=6, num_kv_heads=6),
        ),
        objective=replace(
            base.objective,
            total_steps=steps["dynamics"],
            dreamed_context_fraction=0.5,
            dreamed_context_depth=2,
        ),
        dynamics_training=replace(
            base.dynamics_training,
            fit=FitConfig(
                total_steps=steps["dynamics"],
                log_every_steps=500,
                evaluate_every_steps=0,
                save_every_steps=0,
            ),
            optim=OptimConfig(lr=2e-3, decay_share=0.3),
            batch_size=256,
            window_length=16,
            task_weights={name: 2 * _motion_weight(name) ** 0.5 for name in base.data.tasks},
        ),
        stored_precision="float16",
    )


def pocket_gpu_debug(tasks: tuple[str, ...] = ()) -> RunConfig:
    """The twin of ``pocket-gpu``: what it does beyond ``pocket``, in three steps per phase.

    Run with ``reverie train pocket-gpu-debug``.
    """
    base = debug(tasks)
    return replace(
        base,
        recipe="pocket-gpu-debug",
        objective=replace(base.objective, paired_fraction=0.75, dreamed_context_fraction=0.5),
        stored_precision="float16",
    )


def _look_weight(task: str) -> float:
    """Return how often the tokenizer sees a task.

    The five mine carts look almost alike; the reacher's thin arm is the hardest thing to paint.
    """
    weights = {"pygame-cartpole": 0.4, "pygame-point-maze": 1.5, "pygame-reacher": 4.0}
    return next((weight for name, weight in weights.items() if task.startswith(name)), 1.0)


def _motion_weight(task: str) -> float:
    """Return how often the dynamics sees a task: five mine carts move by one law."""
    weights = {"pygame-cartpole": 0.25, "pygame-pong": 1.5, "pygame-reacher": 1.5}
    return next((weight for name, weight in weights.items() if task.startswith(name)), 1.0)


def debug(tasks: tuple[str, ...] = ()) -> RunConfig:
    """The pocket recipe's twin: three steps per phase on the toy domain, in seconds on one core.

    Run with ``reverie train pocket-debug``. It proves that every phase works together and says
    nothing of quality: expect about 10 dB.
    """
    tasks = tasks or DEBUG_TASKS
    tokenizer = ConvTokenizerConfig(frame_px=_FRAME_PX, channels=(4, 4, 8, 8), latent_channels=4)
    fit = FitConfig(total_steps=3, log_every_steps=1, save_every_steps=1)
    return RunConfig(
        recipe="pocket-debug",
        data=CollectOrder(
            tasks=tasks,
            policies={"random": 1.0},
            episodes_per_task=2,
            frame=FrameSpec(height_px=_FRAME_PX, width_px=_FRAME_PX),
            codec="zstd",
            step_limits=(30,),
        ),
        held_out_episodes_per_task=2,
        tokenizer=tokenizer,
        tokenizer_training=TokenizerTrainingConfig(
            fit=fit, optim=OptimConfig(lr=2e-3, matrices="muon"), batch_size=4
        ),
        dynamics=DynamicsConfig(
            num_latent_tokens=tokenizer.num_tokens,
            num_latent_channels=tokenizer.latent_channels,
            stack=StackConfig(width=32, depth=2, num_heads=2, num_kv_heads=2, time_every=2),
            num_registers=1,
            num_agents=1,
            language_dim=16,
            context=4,
            shortcut=ShortcutConfig(num_levels=4),
            commit_level=3,
            num_flow_steps=2,
            tasks=tasks,
        ),
        heads=HeadsConfig(num_distances=2, num_bins=15, terminating_tasks=terminating(tasks)),
        # Both late starts fall into the three steps, so that every loss runs.
        objective=ObjectiveConfig(total_steps=3, bootstrap_start=0.3, head_start=0.6),
        dynamics_training=DynamicsTrainingConfig(
            fit=fit, optim=OptimConfig(lr=1e-3, matrices="muon"), batch_size=8, window_length=6
        ),
        evaluation=EvaluationOrder(
            live=LiveConfig(num_episodes=2, max_steps=30, num_probes=4),
            evaluation=EvaluationConfig(
                clips_per_episode=1, following=FollowingConfig(variants=("zero",))
            ),
            behaviour="random",
            has_single_substep=False,
        ),
    )
