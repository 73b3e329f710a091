"""The student's CartPole: the same dream, a controller of one hidden layer, trained by PPO."""

from dataclasses import replace

from reverie.recipes import cartpole
from reverie.recipes.classic_base import ClassicRunConfig
from reverie.train.student import StudentConfig

_HIDDEN = 64


def cartpole_student(tasks: tuple[str, ...] = ()) -> ClassicRunConfig:
    """CartPole-v1 with an LSTM of 128 units and PPO in the dream instead of CMA-ES.

    Run with ``reverie train cartpole-student``; everything but the controller is as in
    ``cartpole-dream``. It has not been run to the end yet, so no score is promised.
    """
    return _with_student(cartpole.cartpole_dream(tasks), "cartpole-student", StudentConfig())


def debug(tasks: tuple[str, ...] = ()) -> ClassicRunConfig:
    """The twin of ``cartpole-student``: every part for some steps, in seconds.

    Run with ``reverie train cartpole-student-debug``; it says nothing of quality.
    """
    student = StudentConfig(
        updates=3,
        num_rows=4,
        steps_per_update=8,
        minibatch=16,
        num_starts=8,
        start_context=4,
        check_every=2,
    )
    config = _with_student(cartpole.debug(tasks), "cartpole-student-debug", student)
    return replace(config, exports_dataset=False)


def _with_student(
    config: ClassicRunConfig, recipe: str, student: StudentConfig
) -> ClassicRunConfig:
    return replace(
        config,
        recipe=recipe,
        controller=replace(config.controller, num_hidden=_HIDDEN),
        student=student,
    )
