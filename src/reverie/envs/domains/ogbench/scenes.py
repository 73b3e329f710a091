"""The MuJoCo models of OGBench, built in memory from the package's bodies."""

from importlib.resources import files
from typing import Any

import mujoco as mujoco_package

from reverie.envs.domains.ogbench.maps import NUM_CELLS, UNIT, Maze, centre_of

mujoco: Any = mujoco_package  # its C functions are not annotated

WALL_HALF_HEIGHT = 1.0
TARGET_SIZE = (0.5, 0.05)
"""Radius and half height of the disc on the goal of a maze."""
BALL_TARGET_SIZE = (0.4, 0.05)
BALL_RADIUS, BALL_HEIGHT = 0.25, 3.0
"""The ball is dropped from this height at the start of an episode."""


def make_maze_model(body: str, maze: Maze) -> Any:
    """Put ``"point"`` or ``"ant"`` into a maze.

    The library writes edited XML to a temporary file; this gives the same model without files.
    """
    spec = _read_body("locomaze", body)
    for row in range(NUM_CELLS):
        for column in range(NUM_CELLS):
            if not maze.is_free((row, column)):
                _add_block(spec, row, column)
    floor = spec.geom("floor")
    middle = UNIT * (NUM_CELLS - 3) / 2
    floor.pos = (middle, middle, 0.0)
    floor.size = (UNIT * NUM_CELLS / 2, UNIT * NUM_CELLS / 2, 0.2)
    _add_target(spec, TARGET_SIZE)
    return spec.compile()


def make_ant_model() -> Any:
    """Put the ant onto the open floor."""
    return _read_body("online_locomotion", "ant").compile()


def make_ant_ball_model() -> Any:
    """Put the ant onto the open floor with a ball and a place to push it to."""
    spec = _read_body("online_locomotion", "ant")
    _add_target(spec, BALL_TARGET_SIZE)
    ball = spec.worldbody.add_body(name="ball", pos=(0.0, 0.0, BALL_HEIGHT))
    ball.add_freejoint(name="ball_root")
    ball.add_geom(
        name="ball",
        size=(BALL_RADIUS, 0.0, 0.0),
        material="ball",
        priority=1,
        conaffinity=1,
        condim=6,
    )
    ball.add_light(
        name="ball_light", pos=(0.0, 0.0, 4.0), mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM
    )
    return spec.compile()


def _read_body(package: str, body: str) -> Any:
    path = files("ogbench").joinpath(package, "assets", f"{body}.xml")
    return mujoco.MjSpec.from_string(path.read_text(encoding="utf-8"))


def _add_block(spec: Any, row: int, column: int) -> None:
    spec.worldbody.add_geom(
        name=f"block_{row}_{column}",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=(*centre_of((row, column)), WALL_HALF_HEIGHT),
        size=(UNIT / 2, UNIT / 2, WALL_HALF_HEIGHT),
        contype=1,
        conaffinity=1,
        material="wall",
    )


def _add_target(spec: Any, size: tuple[float, float]) -> None:
    spec.worldbody.add_geom(
        name="target",
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        pos=(0.0, 0.0, 0.05),
        size=(*size, 0.0),
        contype=0,
        conaffinity=0,
        material="target",
    )
