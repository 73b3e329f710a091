"""An expert for the point in a maze: breadth-first search over its cells, and a controller."""

from collections import deque

import numpy as np
from jaxtyping import Float32

from reverie.envs.domains.ogbench.maps import Cell, Maze, cell_at, centre_of
from reverie.envs.experts import Controller

STEP_M = 0.8
"""Way of the point per agent step at full action."""
CLEARANCE_M = 1.2
"""The point, 0.7 wide, stays so close to the middle of a way as it follows it."""
SCALE = 20.0


def maze_expert(maze: Maze) -> Controller:
    """Return the expert of a maze: it walks the shortest way and stops on the goal."""

    def act(state: Float32[np.ndarray, " n"]) -> tuple[float, float]:
        x, y = (SCALE * float(value) for value in state[:2])
        goal_x, goal_y = (SCALE * float(value) for value in state[4:6])
        here, goal = cell_at(x, y), cell_at(goal_x, goal_y)
        following = next_cell(maze, here, goal)
        if following is None:
            return (goal_x - x) / STEP_M, (goal_y - y) / STEP_M
        return _follow((x, y), here, following)

    return act


def next_cell(maze: Maze, here: Cell, goal: Cell) -> Cell | None:
    """Return the next cell on a shortest way to the goal; None on it, or where no way leads."""
    # Searched from the goal: the cell from which ``here`` is found comes next on the way.
    queue, seen = deque([goal]), {goal}
    while queue and here != goal:
        row, column = cell = queue.popleft()
        sides = ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
        for side in sides:
            if side == here:
                return cell
            if maze.is_free(side) and side not in seen:
                seen.add(side)
                queue.append(side)
    return None


def _follow(place: tuple[float, float], here: Cell, following: Cell) -> tuple[float, float]:
    centre, onward = centre_of(here), centre_of(following)
    axis = 0 if onward[0] != centre[0] else 1
    action = [0.0, 0.0]
    aside = centre[1 - axis] - place[1 - axis]
    action[1 - axis] = aside / STEP_M
    if abs(aside) < CLEARANCE_M:
        action[axis] = 1.0 if onward[axis] > centre[axis] else -1.0
    return action[0], action[1]
