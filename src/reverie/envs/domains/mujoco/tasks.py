"""The table of the MuJoCo domain. No simulator is imported here."""

from reverie.core.types import ActionSpec
from reverie.envs.spec import TaskSpec

_LEG = ("thigh", "leg", "foot")
_CHEETAH = ("back thigh", "back shin", "back foot", "front thigh", "front shin", "front foot")
_ANT = tuple(
    f"{joint} {leg}"
    for leg in ("back right", "front left", "front right", "back left")
    for joint in ("hip", "ankle")
)


def _task(
    name: str,
    instruction: str,
    action_names: tuple[str, ...],
    *,
    score_rule: str,
    max_steps: int = 500,
    action_repeat: int = 2,
) -> TaskSpec:
    return TaskSpec(
        name=f"mujoco-{name}",
        domain="mujoco",
        instruction=instruction,
        action=ActionSpec(width=len(action_names)),
        action_names=action_names,
        max_steps=max_steps,
        action_repeat=action_repeat,
        score_rule=score_rule,
        extra="mujoco",
        has_qualities=True,
        factory="reverie.envs.domains.mujoco.make:make_env",
        expert="reverie.envs.domains.mujoco.experts:make_expert",
    )


TASKS = (
    _task(
        "ant",
        "Run as fast as possible",
        _ANT,
        score_rule="clip(return / 5000, 0, 1)",
    ),
    _task(
        "halfcheetah",
        "Run forward as fast as possible",
        _CHEETAH,
        score_rule="clip(return / 15000, 0, 1)",
        max_steps=1000,
        action_repeat=1,
    ),
    _task(
        "hopper",
        "Hopper hops forward at high speed",
        _LEG,
        score_rule="clip(return / 5000, 0, 1)",
    ),
    _task(
        "inverted-pendulum",
        "Balance the inverted pendulum upright",
        ("push right",),
        score_rule="clip(return / 1000, 0, 1)",
    ),
    _task(
        "reacher",
        "Reach the target position with the end-effector",
        ("shoulder", "elbow"),
        score_rule="1 + clip(return, -50, 0) / 50",
        max_steps=50,
        action_repeat=1,
    ),
    _task(
        "walker",
        "Walk forward at high speed",
        tuple(f"{side} {joint}" for side in ("right", "left") for joint in _LEG),
        score_rule="clip(return / 5000, 0, 1)",
    ),
)
