"""VizDoom's TakeCover, cropped to the rows in which something flies."""

import numpy as np
from jaxtyping import UInt8

from reverie.core.types import FrameSpec
from reverie.envs.domains.classics.take_cover import TakeCover
from reverie.envs.game_env import GameEnv
from reverie.envs.spec import TaskSpec

FIRST_ROW, LAST_ROW = 72, 160
"""Rows of the 320x240 picture that are kept: the far wall with the monsters, and what they throw
until it hits. In a frame of 64 px the whole picture would leave them 10 rows, and a fireball a
pixel or two."""


class CloseTakeCover(TakeCover):
    """The rules of ``VizdoomTakeCover-v1``; only the picture differs."""

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Show the rows around the horizon; a frame stretches them to a square."""
        return self._screen[FIRST_ROW:LAST_ROW]


def make_env(spec: TaskSpec, frame_spec: FrameSpec) -> GameEnv:
    """Start the task."""
    return GameEnv(spec, frame_spec, CloseTakeCover())
