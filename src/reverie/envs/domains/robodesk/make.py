"""Makes the RoboDesk tasks and their experts."""

from reverie.core.types import FrameSpec, RenderQuality
from reverie.envs.experts import Controller
from reverie.envs.game_env import GameEnv
from reverie.envs.mujoco_renderer import prepare_mujoco
from reverie.envs.spec import TaskSpec


def make_env(spec: TaskSpec, frame_spec: FrameSpec, quality: RenderQuality) -> GameEnv:
    """Start a RoboDesk task."""
    prepare_mujoco()
    from reverie.envs.domains.robodesk.desk import DeskGame

    return GameEnv(spec, frame_spec, DeskGame(_library_name(spec), frame_spec, quality))


def make_controller(spec: TaskSpec) -> Controller:
    """Return the expert of a button."""
    from reverie.envs.domains.robodesk.experts import push_button

    return push_button(_library_name(spec))


def _library_name(spec: TaskSpec) -> str:
    return spec.name.removeprefix("rd-").replace("-", "_")
