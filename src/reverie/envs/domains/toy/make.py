"""Makes the toy tasks."""

from reverie.core.types import FrameSpec
from reverie.envs.domains.toy.experts import CONTROLLERS
from reverie.envs.domains.toy.paint import PaintGame
from reverie.envs.experts import Controller
from reverie.envs.game_env import GameEnv
from reverie.envs.spec import TaskSpec


def make_env(spec: TaskSpec, frame_spec: FrameSpec) -> GameEnv:
    """Start a toy task."""
    return GameEnv(spec, frame_spec, PaintGame(falls=spec.name == "toy-fall"))


def make_controller(spec: TaskSpec) -> Controller:
    """Return the expert of a toy task."""
    return CONTROLLERS[spec.name]
