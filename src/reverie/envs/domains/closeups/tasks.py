"""The table of close views; the rules are those of the classic tasks, only the picture differs."""

from reverie.core.types import ActionSpec
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
    TaskSpec(
        name="takecover-close",
        domain="closeups",
        instruction="Dodge the fireballs for as long as possible",
        action=ActionSpec(width=1),
        action_names=("move right",),
        max_steps=2100,
        score_rule="clip(return / 2100, 0, 1)",
        can_terminate=True,
        split="extra",
        extra="vizdoom",
        factory="reverie.envs.domains.closeups.take_cover:make_env",
    ),
)
