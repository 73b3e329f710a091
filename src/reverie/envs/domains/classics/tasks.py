"""The table of the classics. No simulator is imported here.

Three of them end by themselves; their scores are not the benchmark's, they say how far the return
lies between nothing and what the literature calls solved.
"""

from reverie.core.types import ActionSpec
from reverie.envs.spec import TaskSpec

_FACTORY = "reverie.envs.domains.classics.make:make_env"
_EXPERT = "reverie.envs.domains.classics.make:make_expert"
_COINRUN_MOVES = ("left", "stay", "right")
_COINRUN_JUMPS = ("down", "", "jump")

TASKS = (
    TaskSpec(
        name="CartPole-v1",
        domain="classics",
        instruction="Keep the pole upright by pushing the cart left or right",
        action=ActionSpec(width=2, kind="discrete"),
        action_names=("push left", "push right"),
        max_steps=500,
        score_rule="return / 500",
        can_terminate=True,
        split="extra",
        factory=_FACTORY,
        expert=_EXPERT,
    ),
    TaskSpec(
        name="CarRacing-v3",
        domain="classics",
        instruction="Drive the car around the track as fast as possible",
        action=ActionSpec(width=3),
        action_names=("steer right", "gas", "brake"),
        max_steps=1000,
        score_rule="clip(return / 900, 0, 1)",
        can_terminate=True,
        split="extra",
        extra="box2d",
        factory=_FACTORY,
        expert=_EXPERT,
    ),
    TaskSpec(
        name="VizdoomTakeCover-v1",
        domain="classics",
        instruction="Dodge the fireballs for as long as possible",
        action=ActionSpec(width=1),
        action_names=("move right",),
        max_steps=2100,
        score_rule="clip(return / 2100, 0, 1)",
        can_terminate=True,
        split="extra",
        extra="vizdoom",
        factory=_FACTORY,
    ),
    TaskSpec(
        name="procgen-coinrun",
        domain="classics",
        instruction="Reach the coin at the far end of the level",
        action=ActionSpec(width=9, kind="discrete"),
        action_names=tuple(
            f"{move} {jump}".strip() for move in _COINRUN_MOVES for jump in _COINRUN_JUMPS
        ),
        max_steps=1000,
        score_rule="1 if the coin is reached, else 0",
        can_terminate=True,
        split="extra",
        extra="procgen",
        factory=_FACTORY,
    ),
)
