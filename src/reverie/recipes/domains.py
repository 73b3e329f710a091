"""The domains model: fourteen tasks of six simulators at 64x64, for one GPU and some minutes."""

from dataclasses import replace

from reverie.recipes import pocket
from reverie.recipes.base import RunConfig

TASKS = (
    "walker-walk",
    "cheetah-run",
    "cartpole-swingup",
    "cup-catch",
    "mujoco-hopper",
    "mujoco-reacher",
    "og-point-arena",
    "og-point-maze",
    "lunarlander-land",
    "bipedal-walker-flat",
    "atari-boxing",
    "atari-pong",
    "mw-reach",
    "mw-drawer-open",
)
BEHAVIOUR = "noise-ou"
"""What is judged on: several of these tasks have only an oracle, dear to ask at every step."""

_POLICIES = {"noise-ou": 2.0, "held": 1.0, "random": 1.0}
_STEP_LIMITS = (48, 48, 48, 48, 200)
"""Behaviours are dealt in a cycle of four, which shares no divisor with five limits: every
behaviour plays every length."""
_TOKENIZER_STEPS = 12_000
_DYNAMICS_STEPS = 1_800


def domains(tasks: tuple[str, ...] = ()) -> RunConfig:
    """Four million parameters that dream six simulators, from DMControl and Atari to Meta-World.

    Run with ``reverie train domains --num-workers 15``; it needs the extra ``sim``. The networks
    are those of ``pocket-gpu``, so that it dreams on two CPU cores like it. No behaviour asks an
    expert: the model knows how bodies move, not how tasks are solved.
    """
    tasks = tasks or TASKS
    base = pocket.pocket_gpu(tasks)
    return replace(
        base,
        recipe="domains",
        data=replace(
            base.data,
            policies=_POLICIES,
            episodes_per_task=200,
            step_limits=_STEP_LIMITS,
        ),
        tokenizer_training=replace(
            base.tokenizer_training,
            fit=replace(base.tokenizer_training.fit, total_steps=_TOKENIZER_STEPS),
            task_weights={},
        ),
        objective=replace(base.objective, total_steps=_DYNAMICS_STEPS),
        dynamics_training=replace(
            base.dynamics_training,
            fit=replace(base.dynamics_training.fit, total_steps=_DYNAMICS_STEPS),
            task_weights={},
        ),
        evaluation=replace(base.evaluation, behaviour=BEHAVIOUR),
    )


def debug(tasks: tuple[str, ...] = ()) -> RunConfig:
    """The twin of ``domains``: its behaviours, in three steps per phase on the toy domain.

    Run with ``reverie train domains-debug``.
    """
    base = pocket.pocket_gpu_debug(tasks)
    return replace(
        base,
        recipe="domains-debug",
        data=replace(base.data, policies=_POLICIES, episodes_per_task=4),
        evaluation=replace(base.evaluation, behaviour=BEHAVIOUR),
    )
