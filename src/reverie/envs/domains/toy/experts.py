"""Scripted experts of the toy tasks."""

import numpy as np
from jaxtyping import Float32

from reverie.envs.domains.toy.paint import GRAVITY_PX, NATIVE_PX, SPEED_PX, THRUST_PX

HOVER_HEIGHT = 60 / NATIVE_PX


def chase(state: Float32[np.ndarray, " n"]) -> tuple[float, float]:
    """Go straight to where the target is."""
    x, y, target_x, target_y = (float(value) * NATIVE_PX for value in state[:4])
    return (target_x - x) / SPEED_PX, (target_y - y) / SPEED_PX


def hover(state: Float32[np.ndarray, " n"]) -> tuple[float, float]:
    """Hold a height and the middle by a damped spring."""
    x, y = float(state[0]), float(state[1])
    velocity_x, velocity_y = float(state[4]), float(state[5])
    right = 4.0 * (0.5 - x) - 2.0 * velocity_x
    down = 4.0 * (HOVER_HEIGHT - y) - 2.0 * velocity_y - GRAVITY_PX / THRUST_PX
    return right, down


CONTROLLERS = {"toy-paint": chase, "toy-fall": hover}
