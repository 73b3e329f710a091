"""Makes the OGBench tasks and their experts."""

from typing import Any

from reverie.core.types import FrameSpec, RenderQuality
from reverie.envs.domains.ogbench.maps import MAZES
from reverie.envs.experts import Controller
from reverie.envs.game_env import GameEnv
from reverie.envs.mujoco_renderer import prepare_mujoco
from reverie.envs.spec import TaskSpec

_MAPS = {"maze": "medium"}
"""Maps whose name in the library is not that of the task."""


def make_env(spec: TaskSpec, frame_spec: FrameSpec, quality: RenderQuality) -> GameEnv:
    """Start an OGBench task."""
    prepare_mujoco()
    return GameEnv(spec, frame_spec, _make_game(spec, frame_spec, quality))


def make_controller(spec: TaskSpec) -> Controller:
    """Return the expert of a point in a maze."""
    from reverie.envs.domains.ogbench.experts import maze_expert

    return maze_expert(MAZES[_map_name(spec)])


def _map_name(spec: TaskSpec) -> str:
    name = spec.name.rpartition("-")[2]
    return _MAPS.get(name, name)


def _make_game(spec: TaskSpec, frame_spec: FrameSpec, quality: RenderQuality) -> Any:
    if spec.name in ("og-ant", "og-antball"):
        from reverie.envs.domains.ogbench.fields import BallTask, FieldGame, RunTask

        task = RunTask() if spec.name == "og-ant" else BallTask()
        return FieldGame(task, frame_spec, quality)
    from reverie.envs.domains.ogbench.mazes import MazeGame

    body = "point" if spec.name.startswith("og-point-") else "ant"
    return MazeGame(MAZES[_map_name(spec)], body, frame_spec, quality)
