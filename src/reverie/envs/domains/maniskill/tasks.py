"""The table of the ManiSkill domain. No simulator is imported here."""

from typing import Literal

from reverie.core.types import ActionSpec
from reverie.envs.spec import TaskSpec

_FACTORY = "reverie.envs.domains.maniskill.make:make_env"
_FETCH = "python -m mani_skill.utils.download_asset {}"
ASSET_FOLDERS = {
    "ycb": "assets/mani_skill2_ycb",
    "xarm6": "robots/xarm6",
    "anymal_c": "robots/anymal_c",
}
"""Asset → its folder below ``$MS_ASSET_DIR/data`` (default ``~/.maniskill/data``)."""

_EXPERT = "reverie.envs.domains.maniskill.make:make_controller"
_SCRIPTED = (
    "reach",
    "reach-eepose",
    "pick-cube",
    "pick-cube-eepose",
    "push-cube",
    "pull-cube",
    "stack-cube",
    "place-sphere",
)
"""Tasks whose hand a script can steer."""
_SUCCESS = "1 if the task is solved at the last step, else 0"
_POSITION = ("hand x", "hand y", "hand z", "open gripper")
_POSE = ("hand x", "hand y", "hand z", "roll", "pitch", "yaw", "open gripper")
_SO100 = ("base", "shoulder", "elbow", "wrist pitch", "wrist roll", "open gripper")
_ANT = tuple(f"joint {index}" for index in range(1, 9))
_LEGS = tuple(
    f"{leg} {joint}"
    for joint in ("hip sideways", "hip forward", "knee")
    for leg in ("left front", "right front", "left hind", "right hind")
)
_HOPPER = ("waist", "hip", "knee", "ankle")
_CART = ("push right",)


def _task(
    name: str,
    instruction: str,
    action_names: tuple[str, ...],
    *,
    max_steps: int = 25,
    score_rule: str = _SUCCESS,
    asset: str | None = None,
    split: Literal["train", "unseen"] = "train",
    is_targeted: bool = False,
) -> TaskSpec:
    return TaskSpec(
        name=f"ms-{name}",
        domain="maniskill",
        instruction=instruction,
        action=ActionSpec(width=len(action_names)),
        action_names=action_names,
        max_steps=max_steps,
        action_repeat=2,
        score_rule=score_rule,
        split=split,
        is_targeted=is_targeted,
        extra="maniskill",
        assets=_FETCH.format(asset) if asset else None,
        factory=_FACTORY,
        expert=_EXPERT if name in _SCRIPTED else None,
    )


def _cartpole(name: str, instruction: str) -> TaskSpec:
    return _task(name, instruction, _CART, max_steps=500, score_rule="return / 1000")


def _pick(thing: str) -> TaskSpec:
    text = f"Pick up the {thing.replace('-', ' ')} and move it to the target position"
    return _task(f"pick-{thing}", text, _POSE, asset="ycb")


_PICK_CUBE = "Pick up the red cube and move it to the green target position"
_ANT_RULE = "clip(return / 1000, 0, 1)"
_HOPPER_RULE = "return / 600"

TASKS = (
    _task(
        "ant-walk",
        "Walk along the X-axis at 0.5 m/s",
        _ANT,
        max_steps=500,
        score_rule=_ANT_RULE,
    ),
    _task("ant-run", "Run along the X-axis at 4 m/s", _ANT, max_steps=500, score_rule=_ANT_RULE),
    _cartpole("cartpole-balance", "Balance the pole upright"),
    _cartpole("cartpole-swingup", "Swing the pole up to a vertical position"),
    _task("hopper-stand", "Stand upright", _HOPPER, max_steps=250, score_rule=_HOPPER_RULE),
    _task(
        "hopper-hop",
        "Move forward quickly by hopping",
        _HOPPER,
        max_steps=250,
        score_rule=_HOPPER_RULE,
    ),
    _task("pick-cube", _PICK_CUBE, _POSITION),
    _task("pick-cube-eepose", _PICK_CUBE, _POSE),
    _task("pick-cube-so", _PICK_CUBE, _SO100),
    _task("poke-cube", "Push the red cube to the target using the blue peg", _POSE),
    _task("push-cube", "Push the small cube to the target", _POSE, is_targeted=True),
    _task("pull-cube", "Pull the small cube to the target using the gripper", _POSE),
    _task(
        "pull-cube-tool", "Pull the small cube to the target using the tool", _POSE, max_steps=50
    ),
    _task("stack-cube", "Stack the red cube on top of the green cube", _POSE),
    _task("place-sphere", "Pick up the ball and put it in the tray", _POSITION),
    _task("lift-peg", "Lift peg and place it upright on the table", _POSE),
    *(
        _pick(thing)
        for thing in (
            "apple",
            "banana",
            "can",
            "hammer",
            "fork",
            "knife",
            "mug",
            "orange",
            "screwdriver",
            "spoon",
            "tennis-ball",
            "baseball",
        )
    ),
    _task("pick-cube-xarm6", _PICK_CUBE, _POSITION, asset="xarm6"),
    _pick("sponge"),
    _task("anymal-reach", "Reach target", _LEGS, max_steps=100, asset="anymal_c"),
    _task("reach", "Reach target position with end-effector", _POSITION),
    _task("reach-eepose", "Reach the target position with the end-effector", _POSE),
    _task("reach-xarm6", "Reach the target position with the gripper", _POSITION, asset="xarm6"),
    _cartpole("cartpole-balance-sparse", "Balance the pole such that it is upright"),
    _cartpole("cartpole-swingup-sparse", "Swing up the pole to an upright position"),
    _task(
        "push-banana",
        "Push the banana to the target",
        _POSE,
        asset="ycb",
        split="unseen",
        is_targeted=True,
    ),
)
