"""Scripted experts of the arms and of the cart: functions of the library's state vector.

The library's motion planners emit joint targets for more steps than an episode has; these steer
the hand by its deltas, as the tasks ask.
"""

import math

import numpy as np
from jaxtyping import Float32, Float64

from reverie.envs.experts import Controller

Vector = Float64[np.ndarray, " 3"]
State = Float32[np.ndarray, " n"]

STEP_M = 0.1
"""Way of the hand per library step at full action, if it could follow."""
GAIN = 0.7
OPEN, CLOSED = 1.0, -1.0
FINGER, HAND = 7, 18
"""Where the state vector holds a finger's joint and, of most tasks, the hand."""
FIRM_M, FREE_M = 0.03, 0.035
"""Fingers closer to the middle than the first may hold a cube, further than the second do not."""
NEAR_M, ABOVE_M = 0.02, 0.08
"""Distance from the hand at which the fingers close, and height to come down from."""
PUSH_HEIGHT_M, PUSH_GAP_M, PUSH_SPEED = 0.03, 0.07, 0.35
"""Lower, the fingers rub on the table; faster, the cube flies off."""
CUBE_M = 0.04


def _vector(state: State, start: int) -> Vector:
    return state[start : start + 3].astype(np.float64)


def _hand(way: Vector, grip: float) -> tuple[float, ...]:
    moves = np.clip(GAIN * way / STEP_M, -1.0, 1.0)
    return float(moves[0]), float(moves[1]), float(moves[2]), grip


def _raised(way: Vector, height_m: float) -> Vector:
    return way + np.array([0.0, 0.0, height_m])


def _aside(way: Vector) -> float:
    return math.hypot(way[0], way[1])


def with_turns(controller: Controller) -> Controller:
    """Make a four-lane expert one of seven lanes that never turns the hand."""

    def act(state: State) -> tuple[float, ...]:
        *moves, grip = controller(state)
        return (*moves, 0.0, 0.0, 0.0, grip)

    return act


def reach(state: State) -> tuple[float, ...]:
    """Go straight to the goal."""
    return _hand(_vector(state, 28), CLOSED)


def pick(state: State) -> tuple[float, ...]:
    """Fetch the cube and carry it to the goal."""
    to_cube = _vector(state, 36)
    if state[18] > 0.5 and np.linalg.norm(to_cube) < NEAR_M:
        return _hand(_vector(state, 39), CLOSED)
    return _fetch(to_cube)


def _fetch(way: Vector) -> tuple[float, ...]:
    # Come from above with open fingers; close them around the thing.
    if np.linalg.norm(way) < NEAR_M:
        return _hand(way, CLOSED)
    if _aside(way) > 0.75 * NEAR_M:
        return _hand(_raised(way, ABOVE_M), OPEN)
    return _hand(way, OPEN)


def stack(state: State) -> tuple[float, ...]:
    """Put the red cube onto the green one and let go."""
    to_red, red_to_green = _vector(state, 39), _vector(state, 45)
    is_near = np.linalg.norm(to_red) < NEAR_M
    is_on_top = _aside(red_to_green) < 0.01 and abs(red_to_green[2] + CUBE_M) < 0.006
    if is_on_top:
        return _hand(_raised(to_red, 0.0 if state[FINGER] < FREE_M else ABOVE_M), OPEN)
    if is_near and state[FINGER] < FIRM_M:
        return _carry(_raised(red_to_green, CUBE_M + 0.003))
    return _fetch(to_red)


def _carry(way: Vector) -> tuple[float, ...]:
    # First up, then across, then down: what is carried must not hit what it goes onto.
    if _aside(way) > 0.01:
        rise = way[2] + 0.05
        is_high = rise < 0.02
        across = way if is_high else 0.2 * way
        return _hand(np.array([across[0], across[1], rise]), CLOSED)
    return _hand(way, CLOSED)


def place_ball(state: State) -> tuple[float, ...]:
    """Put the ball into the tray and let go."""
    to_ball, ball = _vector(state, 36), _vector(state, 29)
    ball_to_tray = _vector(state, 26) - ball
    is_in = _aside(ball_to_tray) < 0.006 and ball_to_tray[2] > -0.035
    if is_in:
        return _hand(_raised(to_ball, 0.0 if state[FINGER] < FREE_M else ABOVE_M), OPEN)
    if state[18] > 0.5:
        return _carry(_raised(ball_to_tray, 0.03))
    return _fetch(to_ball)


def push(state: State) -> tuple[float, ...]:
    """Get behind the cube and push it onto the target."""
    return _shove(state, 1.0)


def pull(state: State) -> tuple[float, ...]:
    """Get in front of the cube and pull it onto the target."""
    return _shove(state, -1.0)


def _shove(state: State, sense: float) -> tuple[float, ...]:
    hand, goal, cube = _vector(state, HAND), _vector(state, 25), _vector(state, 28)
    start = cube - sense * np.array([PUSH_GAP_M, 0.0, 0.0]) - hand
    start[2] = PUSH_HEIGHT_M - hand[2]
    is_behind = sense * (cube[0] - hand[0]) > 0.015 and abs(start[1]) < 0.015
    if not is_behind or hand[2] > 0.05:
        return _hand(_raised(start, 0.1 if abs(start[0]) > 0.03 else 0.0), CLOSED)
    rest = sense * (goal[0] - cube[0])
    onward = sense * PUSH_SPEED if rest > 0.03 else 0.0
    _, aside, up, grip = _hand(start, CLOSED)
    return onward, aside, up, grip


CONTROLLERS: dict[str, Controller] = {
    "ms-reach": reach,
    "ms-reach-eepose": with_turns(reach),
    "ms-pick-cube": pick,
    "ms-pick-cube-eepose": with_turns(pick),
    "ms-push-cube": with_turns(push),
    "ms-pull-cube": with_turns(pull),
    "ms-stack-cube": with_turns(stack),
    "ms-place-sphere": place_ball,
}
"""Tasks with an expert."""
