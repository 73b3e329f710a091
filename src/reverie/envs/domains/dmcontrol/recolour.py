"""Stock tasks in other colours: dynamics, control and reward stay, sky, ground and trim change."""

from typing import Any

from dm_control.rl import control
from dm_control.suite import ball_in_cup, common, finger

from reverie.envs.domains.dmcontrol.game import SuiteScene, to_scene

SKYBOX = b"""
<mujoco>
  <asset>
    <texture name="skybox" type="skybox" builtin="flat" rgb1=".2 .2 .2" rgb2=".2 .2 .2"
             width="800" height="800"/>
  </asset>
</mujoco>
"""
"""A flat dark sky without stars."""

NEW_COLOURS = (
    (b'rgb1=".1 .2 .3"', b'rgb1=".32 .27 .40"'),
    (b'rgb2=".2 .3 .4"', b'rgb2=".42 .36 .52"'),
    (b'markrgb=".2 .3 .4"', b'markrgb=".42 .36 .52"'),
    (b'name="decoration" rgba=".3 .5 .7 1"', b'name="decoration" rgba=".42 .34 .54 1"'),
)
"""Replacements in the suite's shared materials: both squares of the ground, its lines, trim."""


def recoloured_assets() -> dict[str, bytes]:
    """Return the suite's shared assets in the colours of the held-out variants."""
    materials = bytes(common.ASSETS["./common/materials.xml"])
    for old, new in NEW_COLOURS:
        if materials.count(old) != 1:
            raise RuntimeError(f"The suite's materials hold {old!r} {materials.count(old)} times.")
        materials = materials.replace(old, new)
    return {
        **common.ASSETS,
        "./common/materials.xml": materials,
        "./common/skybox.xml": SKYBOX,
    }


def recoloured_scene(domain: str, task: str) -> SuiteScene:
    """Build a stock task from the recoloured assets."""
    if (domain, task) == ("ball_in_cup", "catch"):
        return _build(ball_in_cup, ball_in_cup.BallInCup())
    if (domain, task) == ("finger", "turn_easy"):
        return _build(finger, finger.Turn(target_radius=finger._EASY_TARGET_SIZE))
    raise ValueError(f"There is no recoloured task '{task}' in the domain '{domain}'.")


def _build(module: Any, task: Any) -> SuiteScene:
    xml, _ = module.get_model_and_assets()
    physics = module.Physics.from_xml_string(xml, recoloured_assets())
    step_s = module._CONTROL_TIMESTEP
    return to_scene(control.Environment(physics, task, control_timestep=step_s))
