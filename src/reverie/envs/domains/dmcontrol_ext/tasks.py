"""The table of the DMControl Extended domain. No simulator is imported here."""

from reverie.core.types import ActionSpec
from reverie.envs.spec import TaskSpec

_LEG = ("hip", "knee", "ankle")
_WALKER = tuple(f"{side} {joint}" for side in ("right", "left") for joint in _LEG)
_CHEETAH = ("back thigh", "back shin", "back foot", "front thigh", "front shin", "front foot")
_REACHER = ("shoulder", "elbow", "wrist")
_SPINNER = tuple(f"limb {limb}" for limb in range(5))


def _task(name: str, instruction: str, action_names: tuple[str, ...]) -> TaskSpec:
    return TaskSpec(
        name=name,
        domain="dmcontrol-ext",
        instruction=instruction,
        action=ActionSpec(width=len(action_names)),
        action_names=action_names,
        max_steps=500,
        action_repeat=2,
        score_rule="return / 1000",
        extra="dmcontrol",
        has_qualities=True,
        factory="reverie.envs.domains.dmcontrol_ext.make:make_env",
        expert="reverie.envs.domains.dmcontrol_ext.experts:make_expert",
    )


TASKS = (
    _task("walker-walk-backward", "Walk backward", _WALKER),
    _task("walker-run-backward", "Run backward quickly", _WALKER),
    _task("cheetah-run-backward", "Run backward as fast as possible", _CHEETAH),
    _task("cheetah-run-front", "Run forward quickly only on its front leg", _CHEETAH),
    _task("cheetah-run-back", "Run forward only on its hind leg", _CHEETAH),
    _task("cheetah-jump", "Jump as high as possible", _CHEETAH),
    _task("hopper-hop-backward", "Hop backward on its leg", ("waist", *_LEG)),
    _task("reacher-three-easy", "Reach for the large red target", _REACHER),
    _task("reacher-three-hard", "Reach for the small red target", _REACHER),
    _task("cup-spin", "Spin the ball around the cup", ("push right", "push up")),
    _task("pendulum-spin", "Spin the pendulum quickly", ("hinge",)),
    _task("jumper-jump", "Jump as high as possible", ("left leg", "right leg")),
    _task("spinner-spin", "Spin forward", _SPINNER),
    _task("spinner-spin-backward", "Spin backward", _SPINNER),
    _task("spinner-jump", "Jump as high as possible", _SPINNER),
    _task("giraffe-run", "Run forward at high speed", (*_CHEETAH, "neck")),
)
