"""Drives the race by looking at the track itself, not at the picture."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32

from reverie.core.errors import ConfigError
from reverie.envs.api import TaskEnv
from reverie.envs.domains.classics.racing import Racing
from reverie.envs.game_env import GameEnv

LOOK_AHEAD = 5
"""Tiles between the car and the point it steers to."""
BEND_AHEAD = 16
"""Tiles over which the coming bend is judged."""
FULL_SPEED, BEND_SPEED = 70.0, 28.0
STEERING_GAIN = 2.0


class RacingExpert:
    """Steers to a point ahead on the track and slows down before bends."""

    name = "expert"

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Begin an episode; nothing is drawn."""
        return {}

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Choose steering and pedals."""
        if not (isinstance(env, GameEnv) and isinstance(env.game, Racing)):
            raise ConfigError(
                f"This expert drives CarRacing-v3, and was given '{env.spec.name}'. Use "
                f"make_expert('{env.spec.name}')."
            )
        x, y, angle, speed_x, speed_y, *_ = (float(value) for value in env.observe_state())
        track = np.array([(tile[2], tile[3]) for tile in env.game.simulator.track])
        headings = np.array([tile[1] for tile in env.game.simulator.track])
        nearest = int(np.argmin(((track - (x, y)) ** 2).sum(axis=1)))
        goal = track[(nearest + LOOK_AHEAD) % len(track)]
        wanted = math.atan2(goal[1] - y, goal[0] - x) - math.pi / 2
        error = _wrapped(wanted - angle)
        bend = abs(_wrapped(headings[(nearest + BEND_AHEAD) % len(track)] - headings[nearest]))
        limit = max(BEND_SPEED, FULL_SPEED - 45.0 * bend)
        speed = math.hypot(speed_x, speed_y)
        gas = 0.5 if speed < limit and abs(error) < 0.6 else 0.0
        brake = min(max((speed - limit) / 40.0, 0.0), 0.6)
        return np.array([-STEERING_GAIN * error, 2 * gas - 1, 2 * brake - 1], dtype=np.float32)

    def behaviour(self) -> str:
        """Return ``"expert"``."""
        return self.name


def _wrapped(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi
