"""Point maze: steer a dot through a 5x5 maze with one windy cell to a green goal."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pygame
from jaxtyping import Float32, UInt8

from reverie.envs.domains.miniarcade.canvas import (
    CANVAS_PX,
    StaticLayer,
    fill_polygon,
    fill_rows,
    new_canvas,
    new_layer,
    to_frame,
)

AREA_LEFT_PX, AREA_SIDE_PX = 20, 184
NUM_CELLS = 5
CELL_EDGES_PX = (20, 57, 94, 130, 167)
CELL_SIDE_PX = 37
RADIUS_PX = 6
SPEED_PX = 5.0
WIND_PX = 2.0
GOAL_REACH_PX = 12.0
TRAIL_LENGTH = 24
NUM_TRIES = 4000
"""Draws of a start or a goal before the centre of the canvas is taken."""
WIND_STEPS = ((0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0))
"""Directions of the wind: up, right, down, left."""
LAYOUTS = {
    "var1": ("#.##.", "..#..", "#...#", "..#..", ".##.#"),
    "var2": (".##..", "....#", ".##..", "..##.", "#...."),
    "var3": (".###.", "..#..", "..#..", "#...#", "#####"),
    "var4": ("##.##", "#...#", ".....", "#...#", "##.##"),
}
"""Obstacles (#) and free cells (.), rows from top to bottom."""

_BACKGROUND = (6, 8, 10)
_OUTLINE = (180, 180, 190)
_COLOR_KEY = (255, 0, 255)


@dataclass(kw_only=True, slots=True)
class MazeState:
    """Everything that changes, episode facts included. Pixels; y points down."""

    steps: int
    x: float
    y: float
    velocity_x: float
    velocity_y: float
    goal: tuple[float, float]
    wind_cell: tuple[int, int]
    """Row and column."""
    wind_direction: int
    glow_phase: float
    trail: list[tuple[float, float]]


class PointMaze:
    """The game; the layout is fixed, wind, start and goal are drawn at each reset."""

    def __init__(self, layout: tuple[str, ...]) -> None:
        """Make the maze of a layout."""
        self.layout = layout
        self._cells = [(row, column) for row in range(NUM_CELLS) for column in range(NUM_CELLS)]
        self._obstacles = [cell_rect(*cell) for cell in self._cells if self.is_wall(*cell)]
        margin = 2 * RADIUS_PX
        self._grown = [wall.inflate(margin, margin) for wall in self._obstacles]
        self._background = StaticLayer(self._paint_background)
        self._walls = StaticLayer(self._paint_walls, color_key=_COLOR_KEY)
        self.reset(np.random.default_rng(0))

    def is_wall(self, row: int, column: int) -> bool:
        """Tell whether a cell is an obstacle."""
        return self.layout[row][column] == "#"

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the wind, the start, the goal and the phase of the glow."""
        free = [cell for cell in self._cells if not self.is_wall(*cell)]
        wind_cell = free[int(rng.integers(len(free)))]
        wind_direction = int(rng.integers(4))
        x, y = self._draw_place(rng, near=None)
        self.state = MazeState(
            steps=0,
            x=x,
            y=y,
            velocity_x=0.0,
            velocity_y=0.0,
            goal=self._draw_place(rng, near=(x, y)),
            wind_cell=wind_cell,
            wind_direction=wind_direction,
            glow_phase=float(rng.uniform(0.0, 2 * math.pi)),
            trail=[(x, y)],
        )

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Move along x, then along y, unless a wall is there; the reward is closeness."""
        state = self.state
        velocity = np.float32(SPEED_PX) * action
        wind_x, wind_y = self.wind_at(state.x, state.y)
        state.velocity_x = float(velocity[0]) + wind_x
        state.velocity_y = float(velocity[1]) + wind_y
        low = float(AREA_LEFT_PX + RADIUS_PX + 1)
        high = float(AREA_LEFT_PX + AREA_SIDE_PX - RADIUS_PX - 1)
        x = min(max(state.x + state.velocity_x, low), high)
        if not self.collides(x, state.y):
            state.x = x
        y = min(max(state.y + state.velocity_y, low), high)
        if not self.collides(state.x, y):
            state.y = y
        state.trail = [*state.trail[1 - TRAIL_LENGTH :], (state.x, state.y)]
        state.steps += 1
        return 1.0 - min(self._goal_distance() / AREA_SIDE_PX, 1.0)

    def wind_at(self, x: float, y: float) -> tuple[float, float]:
        """Return the displacement per step that the wind adds at a place."""
        if not cell_rect(*self.state.wind_cell).collidepoint(int(x), int(y)):
            return 0.0, 0.0
        right, down = WIND_STEPS[self.state.wind_direction]
        return WIND_PX * right, WIND_PX * down

    def collides(self, x: float, y: float) -> bool:
        """Tell whether the dot would touch an obstacle."""
        return any(wall.collidepoint(int(x), int(y)) for wall in self._grown)

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return the 44 numbers of the benchmark: motion, grid, wind, goal, cell."""
        state = self.state
        goal_x, goal_y = state.goal
        wind_x, wind_y = self.wind_at(state.x, state.y)
        distance = self._goal_distance()
        row, column = cell_at(state.x, state.y)
        grid = [
            -1.0 if cell == state.wind_cell else float(self.is_wall(*cell)) for cell in self._cells
        ]
        wind = [float(direction == state.wind_direction) for direction in range(4)]
        places = [value / CANVAS_PX for value in (state.x, state.y, goal_x, goal_y)]
        speeds = [state.velocity_x / SPEED_PX, state.velocity_y / SPEED_PX]
        goal = [
            (goal_x - state.x) / AREA_SIDE_PX,
            (goal_y - state.y) / AREA_SIDE_PX,
            distance / AREA_SIDE_PX,
            float(distance <= GOAL_REACH_PX),
        ]
        here = [float((wind_x, wind_y) != (0.0, 0.0)), wind_x / SPEED_PX, wind_y / SPEED_PX]
        cell = [row / (NUM_CELLS - 1), column / (NUM_CELLS - 1)]
        return np.array([*places, *speeds, *grid, *wind, *goal, *here, *cell], dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return 1 while the dot is on the goal, else 0."""
        return float(self.is_success())

    def is_success(self) -> bool:
        """Tell whether the dot is on the goal now. Nothing is scored before the first step."""
        return self.state.steps > 0 and self._goal_distance() <= GOAL_REACH_PX

    def is_over(self) -> bool:
        """Return False: the maze ends by its time limit only."""
        return False

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the maze; the glow of the goal flickers by a fresh draw."""
        state = self.state
        canvas = new_canvas()
        self._background.show(canvas, state.wind_cell)
        self._draw_wind(canvas)
        self._draw_goal(canvas, float(rng.normal(0.0, 0.02)))
        self._draw_trail(canvas)
        self._walls.show(canvas, None)
        agent = (int(state.x), int(state.y))
        pygame.draw.circle(canvas, (255, 180, 80), agent, RADIUS_PX)
        pygame.draw.circle(canvas, (255, 120, 0), agent, RADIUS_PX, 1)
        return to_frame(canvas)

    def _goal_distance(self) -> float:
        goal_x, goal_y = self.state.goal
        return math.hypot(self.state.x - goal_x, self.state.y - goal_y)

    def _draw_place(
        self, rng: np.random.Generator, *, near: tuple[float, float] | None
    ) -> tuple[float, float]:
        low, high = AREA_LEFT_PX + 8.0, AREA_LEFT_PX + AREA_SIDE_PX - 8.0
        nearest, farthest = 0.2 * AREA_SIDE_PX, 0.7 * AREA_SIDE_PX
        for _ in range(NUM_TRIES):
            x, y = float(rng.uniform(low, high)), float(rng.uniform(low, high))
            if self.collides(x, y):
                continue
            if near is None or nearest <= math.hypot(x - near[0], y - near[1]) <= farthest:
                return x, y
        return CANVAS_PX / 2, CANVAS_PX / 2

    @staticmethod
    def _paint_background(canvas: pygame.Surface, wind_cell: tuple[int, int]) -> None:
        canvas.fill(_BACKGROUND)
        rows = (index / (AREA_SIDE_PX - 1) for index in range(AREA_SIDE_PX))
        colors = (
            (int(20 + 10 * (1 - t)), int(28 + 8 * (1 - t)), int(36 + 6 * (1 - t))) for t in rows
        )
        fill_rows(canvas, colors, x=AREA_LEFT_PX, y=AREA_LEFT_PX, width=AREA_SIDE_PX)
        area = (AREA_LEFT_PX, AREA_LEFT_PX, AREA_SIDE_PX, AREA_SIDE_PX)
        pygame.draw.rect(canvas, _OUTLINE, area, 2)
        tint = new_layer(CELL_SIDE_PX, CELL_SIDE_PX)
        tint.fill((90, 150, 210, 55))
        canvas.blit(tint, cell_rect(*wind_cell).topleft)

    def _paint_walls(self, canvas: pygame.Surface, key: None) -> None:
        for wall in self._obstacles:
            pygame.draw.rect(canvas, (30, 30, 35), wall.move(1, 1), border_radius=4)
            pygame.draw.rect(canvas, _OUTLINE, wall, border_radius=4)
            pygame.draw.rect(canvas, (120, 120, 130), wall, 1, border_radius=4)

    def _draw_wind(self, canvas: pygame.Surface) -> None:
        spacing, centre, low, high = 16, CELL_SIDE_PX / 2, 12.0, 25.0
        right, down = WIND_STEPS[self.state.wind_direction]
        drift = (1.2 * self.state.steps) % spacing
        layer = new_layer(CELL_SIDE_PX, CELL_SIDE_PX)
        for index in range(-2, 3):
            along = centre + (right + down) * drift + spacing * index
            if not low <= along <= high:
                continue
            x, y = (along, centre) if right else (centre, along)
            # Across the flow the arrow is 20 pixels wide, along it 8 pixels long.
            corners = [(-10.0, -4.0), (10.0, -4.0), (0.0, 4.0)]
            if right:
                turned = [(x + right * b, y + a) for a, b in corners]
            else:
                turned = [(x + a, y + down * b) for a, b in corners]
            fill_polygon(layer, (120, 230, 255, 150), turned)
        canvas.blit(layer, cell_rect(*self.state.wind_cell).topleft)

    def _draw_goal(self, canvas: pygame.Surface, noise: float) -> None:
        state = self.state
        wave = 0.08 * math.sin(2 * math.pi * state.steps / 40 + state.glow_phase)
        factor = min(max(1.0 + wave + noise, 0.85), 1.15)
        radius = round(38 * factor)
        goal = (int(state.goal[0]), int(state.goal[1]))
        glow = _goal_glow(radius, int(95 * factor))
        canvas.blit(glow, (goal[0] - radius, goal[1] - radius))
        pygame.draw.circle(canvas, (80, 220, 120), goal, RADIUS_PX)

    def _draw_trail(self, canvas: pygame.Surface) -> None:
        layer = new_layer(CANVAS_PX, CANVAS_PX)
        trail = self.state.trail
        for index, (x, y) in enumerate(trail):
            age = index / max(1, len(trail) - 1)
            alpha = int(20 + 220 * age)
            radius = max(2, int(RADIUS_PX * (0.6 + 0.4 * age)))
            centre = (int(x), int(y))
            pygame.draw.circle(layer, (255, 160, 60, alpha // 8), centre, radius + 2)
            pygame.draw.circle(layer, (255, 140, 0, alpha // 3), centre, radius)
        canvas.blit(layer, (0, 0))


def make_game(variant: str) -> PointMaze:
    """Make the maze ``"var1"`` … ``"var4"``."""
    return PointMaze(LAYOUTS[variant])


def cell_rect(row: int, column: int) -> pygame.Rect:
    """Return the square of a cell in pixels."""
    return pygame.Rect(CELL_EDGES_PX[column], CELL_EDGES_PX[row], CELL_SIDE_PX, CELL_SIDE_PX)


def cell_at(x: float, y: float) -> tuple[int, int]:
    """Return row and column of the cell at a place."""
    side = AREA_SIDE_PX / NUM_CELLS
    row, column = int((y - AREA_LEFT_PX) / side), int((x - AREA_LEFT_PX) / side)
    return min(max(row, 0), NUM_CELLS - 1), min(max(column, 0), NUM_CELLS - 1)


@cache
def _goal_glow(radius: int, brightness: int) -> pygame.Surface:
    layer = new_layer(2 * radius, 2 * radius)
    inner, outer = (90, 235, 150), (60, 190, 120)
    for size in range(radius, 0, -2):
        t = size / radius
        alpha = int(brightness * (1 - t) ** 2.2)
        if alpha:
            pairs = zip(inner, outer, strict=True)
            red, green, blue = (int(near + (far - near) * t) for near, far in pairs)
            pygame.draw.circle(layer, (red, green, blue, alpha), (radius, radius), size)
    return layer
