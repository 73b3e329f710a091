"""The table of the DMControl domain. No simulator is imported here."""

from typing import Literal

from reverie.core.types import ActionSpec
from reverie.envs.spec import TaskSpec

_LEG = ("hip", "knee", "ankle")
_WALKER = tuple(f"{side} {joint}" for side in ("right", "left") for joint in _LEG)
_CHEETAH = ("back thigh", "back shin", "back foot", "front thigh", "front shin", "front foot")
_REACHER = ("shoulder", "wrist")
_CARTPOLE = ("push right",)
_CUP = ("push right", "push up")
_FINGER = ("proximal", "distal")
_FISH = ("tail", "tail twist", "flap fins", "pitch left fin", "pitch right fin")
_HOPPER = ("waist", "hip", "knee", "ankle")
_QUADRUPED = tuple(
    f"{motion} {leg}"
    for leg in ("front left", "front right", "back right", "back left")
    for motion in ("yaw", "lift", "extend")
)


def _task(
    name: str,
    instruction: str,
    action_names: tuple[str, ...],
    *,
    split: Literal["train", "unseen"] = "train",
    is_targeted: bool = False,
) -> TaskSpec:
    return TaskSpec(
        name=name,
        domain="dmcontrol",
        instruction=instruction,
        action=ActionSpec(width=len(action_names)),
        action_names=action_names,
        max_steps=500,
        action_repeat=2,
        score_rule="return / 1000",
        split=split,
        is_targeted=is_targeted,
        extra="dmcontrol",
        has_qualities=True,
        factory="reverie.envs.domains.dmcontrol.make:make_env",
        expert="reverie.envs.domains.dmcontrol.experts:make_expert",
    )


_CATCH = "Swing the ball into the cup"
_TURN = "Turn the cylindrical object to the target position"

TASKS = (
    _task("walker-stand", "Stand upright and maintain balance", _WALKER),
    _task("walker-walk", "Walk forward at moderate speed", _WALKER),
    _task("walker-run", "Run forward as fast as possible", _WALKER),
    _task("cheetah-run", "Run forward quickly", _CHEETAH),
    _task("reacher-easy", "Reach for the large red target", _REACHER),
    _task("reacher-hard", "Reach for the small red target", _REACHER),
    _task("acrobot-swingup", "Swing up to a vertical position", ("elbow",)),
    _task("pendulum-swingup", "Swing up to an upright position", ("hinge",)),
    _task("cartpole-balance", "Balance the pole upright", _CARTPOLE),
    _task("cartpole-balance-sparse", "Balance the pole upright", _CARTPOLE),
    _task("cartpole-swingup", "Swing the pole up to a vertical position", _CARTPOLE),
    _task("cartpole-swingup-sparse", "Swing the pole up to a vertical position", _CARTPOLE),
    _task("cup-catch", _CATCH, _CUP, is_targeted=True),
    _task("finger-spin", "Spin the cylindrical object quickly", _FINGER),
    _task("finger-turn-easy", _TURN, _FINGER, is_targeted=True),
    _task("finger-turn-hard", _TURN, _FINGER),
    _task("fish-swim", "Swim to the target location", _FISH),
    _task("hopper-stand", "Stand upright and balance on its leg", _HOPPER),
    _task("hopper-hop", "Hop forward as fast as possible", _HOPPER),
    _task("quadruped-walk", "Walk at a steady pace using all 4 legs", _QUADRUPED),
    _task("quadruped-run", "Run as fast as possible using all 4 legs", _QUADRUPED),
    _task("cup-catch-var1", _CATCH, _CUP, split="unseen", is_targeted=True),
    _task("finger-turn-easy-var1", _TURN, _FINGER, split="unseen", is_targeted=True),
)
