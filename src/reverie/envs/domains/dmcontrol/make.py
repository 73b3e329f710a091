"""Makes the DMControl tasks."""

import importlib

from reverie.core.types import FrameSpec, RenderQuality
from reverie.envs.domains.dmcontrol.game import SuiteGame, SuiteScene, to_scene, unwrap_physics
from reverie.envs.game_env import GameEnv
from reverie.envs.mujoco_renderer import MujocoRenderer, prepare_mujoco
from reverie.envs.spec import TaskSpec

_DOMAINS = {"cup": "ball_in_cup"}
"""Suite domains whose name is not the first word of the task's."""
_CAMERAS = {"quadruped": 2}
"""Cameras other than the first."""
_VARIANT = "-var1"


def make_env(spec: TaskSpec, frame_spec: FrameSpec, quality: RenderQuality) -> GameEnv:
    """Start a suite task; ``-var1`` tasks are the stock ones in other colours."""
    word, _, rest = spec.name.removesuffix(_VARIANT).partition("-")
    domain, task = _DOMAINS.get(word, word), rest.replace("-", "_")
    prepare_mujoco()
    if spec.name.endswith(_VARIANT):
        colours = importlib.import_module("reverie.envs.domains.dmcontrol.recolour")
        scene = colours.recoloured_scene(domain, task)
    else:
        scene = to_scene(importlib.import_module("dm_control.suite").load(domain, task))
    return wrap_scene(spec, frame_spec, quality, scene, camera=_CAMERAS.get(domain, 0))


def wrap_scene(
    spec: TaskSpec,
    frame_spec: FrameSpec,
    quality: RenderQuality,
    scene: SuiteScene,
    *,
    camera: int = 0,
) -> GameEnv:
    """Make the parts of a suite task one of our environments."""
    model, _ = unwrap_physics(scene.physics)
    renderer = MujocoRenderer(model, frame_spec, camera=camera, quality=quality)
    return GameEnv(spec, frame_spec, SuiteGame(scene, renderer))
