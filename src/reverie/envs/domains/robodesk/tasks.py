"""The table of the RoboDesk domain. No simulator is imported here."""

from reverie.core.types import ActionSpec
from reverie.envs.spec import TaskSpec

_LANES = ("hand right", "hand forward", "hand up", "turn wrist", "open gripper")


def _task(name: str, instruction: str, *, expert: str | None = None) -> TaskSpec:
    return TaskSpec(
        name=f"rd-{name}",
        domain="robodesk",
        instruction=instruction,
        action=ActionSpec(width=len(_LANES)),
        action_names=_LANES,
        max_steps=100,
        action_repeat=10,
        score_rule="1 if the task is solved at the last step, else 0",
        extra="robodesk",
        has_qualities=True,
        factory="reverie.envs.domains.robodesk.make:make_env",
        expert=expert,
    )


_EXPERT = "reverie.envs.domains.robodesk.make:make_controller"

TASKS = (
    _task("push-red", "Push the red button", expert=_EXPERT),
    _task("push-green", "Please push the green button", expert=_EXPERT),
    _task("push-blue", "Push the blue button", expert=_EXPERT),
    _task("open-slide", "Open the sliding door"),
    _task("open-drawer", "Open the drawer"),
    _task("flat-block-in-bin", "Put the flat block into the bin"),
)
