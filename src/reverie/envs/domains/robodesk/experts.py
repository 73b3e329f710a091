"""Scripted experts for the desk: the hand goes through a few places, one after the other."""

import numpy as np
from jaxtyping import Float32

from reverie.envs.experts import Controller

HAND, DRAWER, SLIDE = slice(18, 21), 21, 22
"""Where the state vector holds the hand, the drawer's and the slide's joint."""
REACH_M = 0.1
"""Way of the hand per agent step at full action, if nothing is in its way."""
BUTTON_X = {"push_red": -0.45, "push_green": -0.25, "push_blue": -0.05}
BUTTON_Y = 0.625
CLOSED = -1.0
"""Gripper lane; 1 is open."""

Place = tuple[float, float, float]


def push_button(task: str) -> Controller:
    """Return an expert that comes from above and keeps the button down."""
    button_x = BUTTON_X[task]

    def act(state: Float32[np.ndarray, " n"]) -> tuple[float, ...]:
        aside = np.hypot(state[18] - button_x, state[19] - BUTTON_Y)
        height = 0.76 if aside < 0.05 else 0.95
        return _towards(state, (button_x, BUTTON_Y, height))

    return act


def open_slide(state: Float32[np.ndarray, " n"]) -> tuple[float, ...]:
    """Push the handle of the sliding door to the right."""
    handle_x = float(state[SLIDE]) - 0.4
    x, y, _ = state[HAND]
    if y < 0.7 and x > handle_x - 0.08:
        return _towards(state, (handle_x - 0.12, 0.62, 0.93))
    if y < 0.76 and x < handle_x - 0.06:
        return _towards(state, (handle_x - 0.1, 0.9, 0.93))
    return _towards(state, (handle_x + 0.3, 0.78, 0.93))


def _towards(
    state: Float32[np.ndarray, " n"], place: Place, *, gripper: float = CLOSED
) -> tuple[float, ...]:
    way = (np.array(place) - state[HAND]) / REACH_M
    return float(way[0]), float(way[1]), float(way[2]), 0.0, gripper
