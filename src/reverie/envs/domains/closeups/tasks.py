"""The table of close views; the rules are those of the classic tasks, only the picture differs."""

from dataclasses import replace

from reverie.core.types import ActionSpec
from reverie.envs.domains.classics.tasks import TASKS as CLASSICS
from reverie.envs.spec import TaskSpec

TASKS = (
    TaskSpec(
        name="cartpole-v1-close",
        domain="closeups",
        instruction="Keep the pole on the cart upright",
        action=ActionSpec(width=1),
        action_names=("push right above zero, left otherwise",),
        max_steps=500,
        score_rule="return / 500",
        can_terminate=True,
        split="extra",
        factory="reverie.envs.domains.closeups.cartpole:make_env",
        expert="reverie.envs.domains.closeups.cartpole:make_expert",
    ),
    replace(
        next(task for task in CLASSICS if task.name == "VizdoomTakeCover-v1"),
        name="takecover-close",
        domain="closeups",
        factory="reverie.envs.domains.closeups.take_cover:make_env",
    ),
)
