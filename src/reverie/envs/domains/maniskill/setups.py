"""How the library makes each task. No simulator is imported here."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """One task in the library's words."""

    id: str
    """Name in the library's registry; those that begin with ``Reverie`` are our own."""
    control: str | None = None
    """Control mode; None keeps the robot's default."""
    robot: str | None = None
    """Robot, where it is not the task's default."""
    model: str | None = None
    """The one YCB object of the task."""
    asset: str | None = None
    """What must have been downloaded before."""


_POSITION, _POSE = "pd_ee_delta_pos", "pd_ee_delta_pose"
_XARM = "xarm6_robotiq"
_YCB = {
    "apple": "013_apple",
    "banana": "011_banana",
    "can": "005_tomato_soup_can",
    "fork": "030_fork",
    "hammer": "048_hammer",
    "knife": "032_knife",
    "mug": "025_mug",
    "orange": "017_orange",
    "screwdriver": "044_flat_screwdriver",
    "spoon": "031_spoon",
    "tennis-ball": "056_tennis_ball",
    "baseball": "055_baseball",
    "sponge": "026_sponge",
}

SETUPS = {
    "ms-ant-walk": Setup(id="MS-AntWalk-v1"),
    "ms-ant-run": Setup(id="MS-AntRun-v1"),
    "ms-cartpole-balance": Setup(id="MS-CartpoleBalance-v1"),
    "ms-cartpole-swingup": Setup(id="MS-CartpoleSwingUp-v1"),
    "ms-cartpole-balance-sparse": Setup(id="ReverieCartpoleBalanceSparse-v1"),
    "ms-cartpole-swingup-sparse": Setup(id="ReverieCartpoleSwingUpSparse-v1"),
    "ms-hopper-stand": Setup(id="MS-HopperStand-v1"),
    "ms-hopper-hop": Setup(id="MS-HopperHop-v1"),
    "ms-pick-cube": Setup(id="PickCube-v1", control=_POSITION),
    "ms-pick-cube-eepose": Setup(id="PickCube-v1", control=_POSE),
    "ms-pick-cube-so": Setup(id="PickCubeSO100-v1", control="pd_joint_delta_pos"),
    "ms-pick-cube-xarm6": Setup(id="PickCube-v1", control=_POSITION, robot=_XARM, asset="xarm6"),
    "ms-poke-cube": Setup(id="PokeCube-v1", control=_POSE),
    "ms-push-cube": Setup(id="PushCube-v1", control=_POSE),
    "ms-pull-cube": Setup(id="PullCube-v1", control=_POSE),
    "ms-pull-cube-tool": Setup(id="PullCubeTool-v1", control=_POSE),
    "ms-stack-cube": Setup(id="StackCube-v1", control=_POSE),
    "ms-place-sphere": Setup(id="PlaceSphere-v1", control=_POSITION),
    "ms-lift-peg": Setup(id="LiftPegUpright-v1", control=_POSE),
    "ms-reach": Setup(id="ReverieReach-v1", control=_POSITION),
    "ms-reach-eepose": Setup(id="ReverieReach-v1", control=_POSE),
    "ms-reach-xarm6": Setup(id="ReverieReach-v1", control=_POSITION, robot=_XARM, asset="xarm6"),
    "ms-anymal-reach": Setup(id="AnymalC-Reach-v1", control="pd_joint_delta_pos", asset="anymal_c"),
    **{
        f"ms-pick-{thing}": Setup(id="ReveriePickYCB-v1", control=_POSE, model=model, asset="ycb")
        for thing, model in _YCB.items()
    },
    "ms-push-banana": Setup(
        id="ReveriePushYCB-v1", control=_POSE, model=_YCB["banana"], asset="ycb"
    ),
}
"""Every task of the table."""
