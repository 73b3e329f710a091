"""The table of the Box2D domain. No simulator is imported here."""

from reverie.core.types import ActionSpec
from reverie.envs.spec import TaskSpec

_JOINTS = ("left hip", "left knee", "right hip", "right knee")
_ENGINES = ("main engine", "side engines")
STEEP = ("rugged", "hills", "obstacles")
"""Grounds on which our gait falls."""


def _task(
    name: str,
    instruction: str,
    action_names: tuple[str, ...],
    score_rule: str,
    *,
    is_targeted: bool = False,
    has_expert: bool = True,
) -> TaskSpec:
    return TaskSpec(
        name=name,
        domain="box2d",
        instruction=instruction,
        action=ActionSpec(width=len(action_names)),
        action_names=action_names,
        max_steps=250,
        action_repeat=2,
        score_rule=score_rule,
        is_targeted=is_targeted,
        extra="box2d",
        factory="reverie.envs.domains.box2d.make:make_env",
        expert="reverie.envs.domains.box2d.make:make_expert" if has_expert else None,
    )


def _walker(terrain: str, instruction: str) -> TaskSpec:
    return _task(
        f"bipedal-walker-{terrain}",
        instruction,
        _JOINTS,
        "clip(return / 250, 0, 1)",
        has_expert=terrain not in STEEP,
    )


def _lander(goal: str, instruction: str, *, is_targeted: bool = False) -> TaskSpec:
    rule = "clip(return / 500, 0, 1)"
    return _task(f"lunarlander-{goal}", instruction, _ENGINES, rule, is_targeted=is_targeted)


TASKS = (
    _walker("flat", "Walk forward quickly on flat terrain"),
    _walker("uneven", "Walk forward as fast as possible on uneven terrain"),
    _walker("rugged", "Walk forward at high speed on rugged terrain"),
    _walker("hills", "Traverse the hills as fast as possible"),
    _walker("obstacles", "Traverse the various obstacles quickly"),
    _lander("land", "Land safely on the landing pad"),
    _lander("hover", "Hover safely around the target position", is_targeted=True),
    _lander("takeoff", "Take off and fly to the target position"),
)
