"""The table of the OGBench domain. No simulator is imported here."""

from typing import Any

from reverie.core.types import ActionSpec
from reverie.envs.spec import TaskSpec

_POINT = ("move right", "move up")
_ANT = tuple(
    f"{joint} {leg}"
    for leg in ("right back", "left front", "right front", "left back")
    for joint in ("hip", "ankle")
)
_BALL_RULE = "1 if the ball is on the goal at the last step, else 0"
_GOAL_RULE = "1 if the goal is reached at the last step, else 0"


def _task(name: str, instruction: str, lanes: tuple[str, ...], **facts: Any) -> TaskSpec:
    return TaskSpec(
        name=f"og-{name}",
        domain="ogbench",
        instruction=instruction,
        action=ActionSpec(width=len(lanes)),
        action_names=lanes,
        extra="ogbench",
        has_qualities=True,
        factory="reverie.envs.domains.ogbench.make:make_env",
        **facts,
    )


def _point(name: str, instruction: str, **facts: Any) -> TaskSpec:
    expert = "reverie.envs.domains.ogbench.make:make_controller"
    rules = {"max_steps": 100, "action_repeat": 4, "score_rule": _GOAL_RULE, "expert": expert}
    return _task(f"point-{name}", instruction, _POINT, **rules, **facts)


def _ant(name: str, instruction: str) -> TaskSpec:
    rules = {"max_steps": 200, "action_repeat": 2, "score_rule": _GOAL_RULE}
    return _task(f"ant-{name}", instruction, _ANT, **rules)


TASKS = (
    _task("ant", "Run at high speed", _ANT, max_steps=1000, score_rule="clip(return / 250, 0, 1)"),
    _task(
        "antball",
        "Push the soccer ball to the goal location",
        _ANT,
        max_steps=200,
        score_rule=_BALL_RULE,
    ),
    _point("arena", "Move the point mass to the red goal location"),
    _point("maze", "Navigate through a maze to reach the red goal", is_targeted=True),
    _point(
        "bottleneck",
        "Navigate the point mass to the red goal, avoiding obstacles",
        is_targeted=True,
    ),
    _point("circle", "Navigate the point mass around a circular maze to reach a red goal"),
    _point("spiral", "Move to the red goal location by navigating through a spiral maze"),
    _ant("arena", "Move the ant to the red goal"),
    _ant("maze", "Navigate through a maze to reach the red goal"),
    _ant("bottleneck", "Navigate to the red goal location, avoiding obstacles"),
    _ant("circle", "Reach the red goal location by navigating through the circular maze"),
    _ant("spiral", "The ant must traverse a spiral maze to reach a goal marked in red"),
    _point(
        "var1",
        "Navigate the point mass to the goal, avoiding obstacles",
        is_targeted=True,
        split="unseen",
    ),
    _point(
        "var2",
        "Navigate the point mass around a maze to reach a red goal",
        is_targeted=True,
        split="unseen",
    ),
)
