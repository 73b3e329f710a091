"""The table of the toy domain."""

from reverie.core.types import ActionSpec
from reverie.envs.spec import TaskSpec

_FACTORY = "reverie.envs.domains.toy.make:make_env"
_EXPERT = "reverie.envs.domains.toy.make:make_controller"

TASKS = (
    TaskSpec(
        name="toy-paint",
        domain="toy",
        instruction="Move the dot onto the circling target",
        action=ActionSpec(width=2),
        action_names=("move right", "move down"),
        max_steps=100,
        score_rule="clip(return / 100, 0, 1)",
        split="extra",
        factory=_FACTORY,
        expert=_EXPERT,
    ),
    TaskSpec(
        name="toy-fall",
        domain="toy",
        instruction="Keep the falling dot off the ground",
        action=ActionSpec(width=2),
        action_names=("push right", "push down"),
        max_steps=100,
        score_rule="steps survived / 100",
        can_terminate=True,
        split="extra",
        factory=_FACTORY,
        expert=_EXPERT,
    ),
)
