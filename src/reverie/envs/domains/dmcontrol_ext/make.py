"""Makes the DMControl Extended tasks."""

import importlib

from reverie.core.types import FrameSpec, RenderQuality
from reverie.envs.domains.dmcontrol.make import wrap_scene
from reverie.envs.game_env import GameEnv
from reverie.envs.mujoco_renderer import prepare_mujoco
from reverie.envs.spec import TaskSpec


def make_env(spec: TaskSpec, frame_spec: FrameSpec, quality: RenderQuality) -> GameEnv:
    """Start an extended task."""
    prepare_mujoco()
    scenes = importlib.import_module("reverie.envs.domains.dmcontrol_ext.scenes")
    return wrap_scene(spec, frame_spec, quality, scenes.make_scene(spec.name))
