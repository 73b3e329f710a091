"""Scripted experts for the buttons of the desk."""

import numpy as np
from jaxtyping import Float32

from reverie.envs.experts import Controller

HAND = slice(18, 21)
"""Where the state vector holds the hand."""
REACH_M = 0.1
"""Way of the hand per agent step at full action, if nothing is in its way."""
BUTTON_X = {"push_red": -0.45, "push_green": -0.25, "push_blue": -0.05}
BUTTON_Y = 0.625
LIGHTS = {"push_red": 26, "push_green": 27, "push_blue": 28}
"""Where the state vector holds the light that a pressed button moves."""
LIT = -0.0045
COME_M, PRESS_M, HOLD_M = 0.95, 0.76, 0.01
"""Heights to come from and to press to, and how far below itself the hand aims to hold."""
CLOSED = -1.0
"""Gripper lane; 1 is open."""

Place = tuple[float, float, float]


def push_button(task: str) -> Controller:
    """Return an expert that comes from above and keeps the button down."""
    button_x, light = BUTTON_X[task], LIGHTS[task]

    def act(state: Float32[np.ndarray, " n"]) -> tuple[float, ...]:
        aside = np.hypot(state[18] - button_x, state[19] - BUTTON_Y)
        height = PRESS_M if aside < 0.05 else COME_M
        if state[light] < LIT:
            # A harder push makes the hand slide off.
            height = float(state[20]) - HOLD_M
        return _towards(state, (button_x, BUTTON_Y, height))

    return act


def _towards(state: Float32[np.ndarray, " n"], place: Place) -> tuple[float, ...]:
    way = (np.array(place) - state[HAND]) / REACH_M
    return float(way[0]), float(way[1]), float(way[2]), 0.0, CLOSED
