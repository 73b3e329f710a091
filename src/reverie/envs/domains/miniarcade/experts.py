"""Scripted experts of the MiniArcade games: pure functions of the state vector."""

import math
from collections import deque
from functools import cache

import numpy as np
from jaxtyping import Float32, Float64

from reverie.envs.domains.miniarcade import hunters
from reverie.envs.domains.miniarcade.canvas import CANVAS_PX
from reverie.envs.domains.miniarcade.games import cartpole, point_maze, pong, reacher

Cell = tuple[int, int]

CATCH_ANGLE_RAD = 0.4
CATCH_SPEED = 3.0
"""Within these the pole is held by the linear controller; beyond them it is swung."""
HOME_ENERGY, FAR_ENERGY, AWAY_ENERGY = 1.05, 1.4, 0.4
"""Pole energies to pump to, as parts of the upright one: on the way home, on the way home from
more than three quarters of a turn, and on the way from home on the far side."""
CATCH_PLACE_M, CATCH_DRIFT = 0.6, 2.0
"""While catching, cart place and speed count at most so much: the pole comes first."""
PUMP_GAIN = 8.0
"""Largest cart acceleration asked for by the pump, m/s²."""
CENTRE_GAIN, BRAKE_GAIN = 1.5, 1.5
REACH_GAIN = 8.0
"""Joint speed asked for, rad/s per radian of error."""
TRACK_GAIN = 40.0
"""Joint acceleration asked for, rad/s² per rad/s of error."""


def navigate(state: Float32[np.ndarray, " n"]) -> tuple[float, float]:
    """Walk the shortest way through the cells, against the wind; hold still on the goal."""
    place, goal = state[:2] * CANVAS_PX, state[2:4] * CANVAS_PX
    walls = frozenset((i // 5, i % 5) for i in range(25) if state[6 + i] > 0.5)
    wind = (float(state[40]), float(state[41]))
    here = point_maze.cell_at(float(place[0]), float(place[1]))
    goal_cell = point_maze.cell_at(float(goal[0]), float(goal[1]))
    target = (float(goal[0]), float(goal[1]))
    if here != goal_cell and (following := _next_cell(here, goal_cell, walls)) is not None:
        centre = point_maze.cell_rect(*following).center
        target = (float(centre[0]), float(centre[1]))
    right = (target[0] - float(place[0])) / point_maze.SPEED_PX - wind[0]
    down = (target[1] - float(place[1])) / point_maze.SPEED_PX - wind[1]
    return right, down


@cache
def _next_cell(here: Cell, goal: Cell, walls: frozenset[Cell]) -> Cell | None:
    # Searched from the goal: the cell from which `here` is found comes next on the way.
    queue, seen = deque([goal]), {goal}
    while queue:
        row, column = cell = queue.popleft()
        for next_row, next_column in (
            (row - 1, column),
            (row + 1, column),
            (row, column - 1),
            (row, column + 1),
        ):
            neighbour = (next_row, next_column)
            if neighbour == here:
                return cell
            is_inside = 0 <= next_row < 5 and 0 <= next_column < 5
            if is_inside and neighbour not in walls and neighbour not in seen:
                seen.add(neighbour)
                queue.append(neighbour)
    return None


def return_ball(state: Float32[np.ndarray, " n"]) -> tuple[float]:
    """Meet the ball where it will cross the paddle; wait in the middle while it flies away."""
    x, y, agent_top = (float(state[i]) * CANVAS_PX for i in (0, 1, 4))
    velocity_x, velocity_y = (float(state[i]) * pong.BALL_SPEED_PX for i in (2, 3))
    reach = pong.AGENT_LEFT_PX + pong.PADDLE_WIDTH_PX
    aim = CANVAS_PX / 2
    if velocity_x < 0:
        while x > reach and velocity_x < -1e-6:
            x, y = x + velocity_x, y + velocity_y
            is_low = y - pong.BALL_PX < pong.AREA_LOW_PX
            if is_low or y + pong.BALL_PX > pong.AREA_HIGH_PX:
                velocity_y = -velocity_y
            # A nearly vertical ball takes thousands of steps: near enough is good enough.
            velocity_x = min(velocity_x, -0.2)
        aim = y
    return ((aim - pong.PADDLE_HEIGHT_PX / 2 - agent_top) / pong.PADDLE_SPEED_PX,)


def balance(state: Float32[np.ndarray, " n"]) -> tuple[float]:
    """Hold pole and cart by linear-quadratic feedback about the upright pose."""
    return (-float(_balance_gain() @ state.astype(np.float64)),)


def swing_up(state: Float32[np.ndarray, " n"]) -> tuple[float]:
    """Pump energy into the pole until it can be caught upright, at angle 0 and no full turn away.

    The cart's acceleration ``u`` changes the pole's energy (per mass and half length) at the rate
    ``-u w cos(angle)``, w being the angular velocity; the force that gives ``u`` follows from the
    equations of motion.
    """
    x, velocity, angle, turning = (float(value) for value in state)
    if abs(angle) < CATCH_ANGLE_RAD and abs(turning) < CATCH_SPEED:
        limits = np.array([CATCH_PLACE_M, CATCH_DRIFT, np.inf, np.inf], dtype=np.float32)
        return balance(np.clip(state, -limits, limits))
    gravity, length = cartpole.GRAVITY, 4 / 3 * cartpole.HALF_LENGTH_M
    energy = length * turning**2 / 2 + gravity * math.cos(angle)
    is_homeward = angle * turning < 0
    wanted = HOME_ENERGY
    if is_homeward and abs(angle) > 1.5 * math.pi:
        wanted = FAR_ENERGY
    elif not is_homeward and abs(angle) > math.pi:
        wanted = AWAY_ENERGY
    lack = wanted - energy / gravity
    sense = math.copysign(1.0, turning * math.cos(angle))
    push = -PUMP_GAIN * min(max(2 * lack, -1.0), 1.0) * sense
    push -= CENTRE_GAIN * x + BRAKE_GAIN * velocity
    return (_force_for(push, angle, turning) / cartpole.FORCE_N,)


def _force_for(push: float, angle: float, turning: float) -> float:
    sine, cosine = math.sin(angle), math.cos(angle)
    turn = (cartpole.GRAVITY * sine - push * cosine) / (4 / 3 * cartpole.HALF_LENGTH_M)
    total = cartpole.TOTAL_MASS_KG * push + cartpole.POLE_MOMENT * turn * cosine
    return total - cartpole.POLE_MOMENT * turning**2 * sine


@cache
def _balance_gain() -> Float64[np.ndarray, " n"]:
    step, mass = cartpole.TIME_STEP_S, cartpole.TOTAL_MASS_KG
    inertia = cartpole.HALF_LENGTH_M * (4 / 3 - cartpole.POLE_MASS_KG / mass)
    turn = (cartpole.GRAVITY / inertia, -1 / (mass * inertia))
    slide = tuple(-cartpole.POLE_MOMENT / mass * value for value in turn)
    drift = np.eye(4)
    drift[0, 1] = drift[2, 3] = step
    drift[1, 2], drift[3, 2] = step * slide[0], step * turn[0]
    per_newton = np.array([0, 1 / mass + slide[1], 0, turn[1]])
    drive = (cartpole.FORCE_N * step * per_newton)[:, None]
    cost = np.diag([1.0, 0.1, 10.0, 0.1])
    value, gain = cost, np.zeros((1, 4))
    for _ in range(500):  # The Riccati recursion has settled long before.
        gain = drive.T @ value @ drift / (1.0 + drive.T @ value @ drive)
        value = cost + drift.T @ value @ (drift - drive @ gain)
    return gain[0]


def reach(state: Float32[np.ndarray, " n"]) -> tuple[float, float]:
    """Turn both joints to the nearer of the two poses that put the tip on the target."""
    angles = (float(state[0]), float(state[1]))
    whole = angles[0] + angles[1]
    tip_x = reacher.LINK_M * (math.cos(angles[0]) + math.cos(whole))
    tip_y = reacher.LINK_M * (math.sin(angles[0]) + math.sin(whole))
    target = (tip_x + float(state[2]), tip_y + float(state[3]))
    ways = [_way_to(pose, angles) for pose in _poses(target)]
    way = min(ways, key=lambda pair: max(abs(pair[0]), abs(pair[1])))
    torques: list[float] = []
    for joint in (0, 1):
        speed = float(state[4 + joint])
        asked = REACH_GAIN * way[joint]
        drag = reacher.LINEAR_DRAG[joint] + reacher.QUADRATIC_DRAG[joint] * abs(speed)
        push = drag * speed + TRACK_GAIN * (asked - speed)
        torques.append(float(push / reacher.TORQUE_GAIN[joint]))
    return torques[0], torques[1]


def _poses(target: tuple[float, float]) -> tuple[tuple[float, float], tuple[float, float]]:
    distance = min(math.hypot(*target), 2 * reacher.LINK_M)
    bend = 2 * math.acos(distance / (2 * reacher.LINK_M))
    bend = min(bend, reacher.ELBOW_LIMIT_RAD)
    direction = math.atan2(target[1], target[0])
    return (direction - bend / 2, bend), (direction + bend / 2, -bend)


def _way_to(pose: tuple[float, float], angles: tuple[float, float]) -> tuple[float, float]:
    shoulder = math.remainder(pose[0] - angles[0], 2 * math.pi)
    return shoulder, pose[1] - angles[1]


CONTROLLERS = {
    **hunters.CONTROLLERS,
    "pygame-pong": return_ball,
    "pygame-cartpole-balance": balance,
    "pygame-cartpole-swingup": swing_up,
    "pygame-cartpole-balance-sparse": balance,
    "pygame-cartpole-swingup-sparse": swing_up,
    "pygame-cartpole-tremor": balance,
    "pygame-point-maze-var1": navigate,
    "pygame-point-maze-var2": navigate,
    "pygame-point-maze-var3": navigate,
    "pygame-point-maze-var4": navigate,
    "pygame-reacher-easy": reach,
    "pygame-reacher-hard": reach,
}
