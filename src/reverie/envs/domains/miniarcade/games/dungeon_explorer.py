"""Dungeon explorer: find the chest of a maze that is seen only near the lantern."""

import math
from dataclasses import dataclass

import numpy as np
import pygame
from jaxtyping import Float32, UInt8

from reverie.envs.domains.miniarcade.canvas import CANVAS_PX, bold_text, new_canvas, to_frame
from reverie.envs.domains.miniarcade.effects import blend_disk, blend_glow, mixed, tint

Cell = tuple[int, int]
"""Row and column."""

AREA_LOW_PX, AREA_SIDE_PX, NUM_CELLS = 20, 184, 9
CELL_PX = AREA_SIDE_PX / NUM_CELLS
SPEED_PX = 2.0
LOW_PX, HIGH_PX = 26.0, 198.0
ZOOM = 1.3
SIGHT_CELLS = 3
OPEN_REACH_PX = 0.4 * CELL_PX
MAX_STEPS = 250
SPARKLE_STEPS = 30
LAYOUTS = {
    "1": (
        "#########",
        "#####...#",
        "#####.#.#",
        "####..#.#",
        "###..##.#",
        "#...###.#",
        "###.....#",
        "#####.###",
        "#########",
    )
}
"""Walls (#) and floor (.), rows from top to bottom."""

_FLOOR, _WALL = (80, 60, 40), (35, 25, 18)
_MAP_COLORS = {-1: (8, 8, 12), 0: (150, 120, 80), 1: (75, 55, 45)}
_MIDDLE = CANVAS_PX // 2


@dataclass(kw_only=True, slots=True)
class DungeonState:
    """Everything that changes. Pixels and pixels per step; y points down."""

    steps: int
    place: tuple[float, float]
    velocity: tuple[float, float]
    facing: tuple[float, float]
    chest: Cell
    opened_at: int | None
    """The step that opened the chest."""
    known: frozenset[Cell]
    in_view: frozenset[Cell]
    visited: frozenset[Cell]


class DungeonExplorer:
    """The game. New cells pay a little, an open chest 2 in every step."""

    def __init__(self, layout: tuple[str, ...]) -> None:
        """Make the maze of a layout."""
        self.layout = layout
        self._cells = [(row, column) for row in range(NUM_CELLS) for column in range(NUM_CELLS)]
        self._floor = [cell for cell in self._cells if not self.is_wall(cell)]
        self.reset(np.random.default_rng(0))

    def is_wall(self, cell: Cell) -> bool:
        """Tell whether a cell is a wall."""
        return self.layout[cell[0]][cell[1]] == "#"

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the cells of agent and chest."""
        start = self._floor[int(rng.integers(len(self._floor)))]
        others = [cell for cell in self._floor if cell != start]
        self.state = DungeonState(
            steps=0,
            place=cell_centre(start),
            velocity=(0.0, 0.0),
            facing=(1.0, 0.0),
            chest=others[int(rng.integers(len(others)))],
            opened_at=None,
            known=frozenset(),
            in_view=frozenset(),
            visited=frozenset({start}),
        )
        self._look()

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Walk unless a wall is there, look around, open the chest."""
        state = self.state
        velocity = (SPEED_PX * float(action[0]), SPEED_PX * float(action[1]))
        if max(abs(velocity[0]), abs(velocity[1])) > 0.05:
            state.facing = velocity
        x = min(max(state.place[0] + velocity[0], LOW_PX), HIGH_PX)
        y = min(max(state.place[1] + velocity[1], LOW_PX), HIGH_PX)
        if self.is_wall(cell_at(x, y)):
            state.velocity = (0.0, 0.0)
        else:
            state.place, state.velocity = (x, y), velocity
        here = cell_at(*state.place)
        is_new = here not in state.visited
        state.visited |= {here}
        self._look()
        distance = math.dist(state.place, cell_centre(state.chest))
        if state.opened_at is None and distance <= OPEN_REACH_PX:
            state.opened_at = state.steps
            self._look()
        state.steps += 1
        if state.opened_at is not None:
            return 2.0
        reward = -0.001 + 0.1 * is_new + 0.05 * len(state.visited) / len(self._floor)
        if state.chest in state.known:
            diagonal = math.hypot(AREA_SIDE_PX, AREA_SIDE_PX) / 2
            reward += 0.03 + 0.1 * (1 - min(distance / diagonal, 1.0))
        return reward

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return agent, way to the chest, time and the map as far as it is known."""
        state = self.state
        x, y = state.place
        chest_x, chest_y = cell_centre(state.chest)
        values = [x / CANVAS_PX, y / CANVAS_PX, state.velocity[0] / 4, state.velocity[1] / 4]
        for way in (chest_x - x, chest_y - y):
            values += [min(max(way / AREA_SIDE_PX, -1.0), 1.0)]
        values += [float(state.opened_at is not None), state.steps / MAX_STEPS]
        values += [float(self._remembered(cell)) for cell in self._cells]
        return np.array(values, dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return 1 once the chest is open."""
        return float(self.is_success())

    def is_success(self) -> bool:
        """Tell whether the chest is open."""
        return self.state.opened_at is not None

    def is_over(self) -> bool:
        """Return False: the search ends by its time limit only."""
        return False

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw what is known, as seen from above the explorer, and the map."""
        state = self.state
        canvas = new_canvas()
        canvas.fill((8, 6, 12))
        wave = 0.25 * math.sin(0.18 * state.steps) + 0.15 * math.sin(0.47 * state.steps + 1.3)
        flicker = min(max(1 + wave, 0.5), 1.3)
        for cell in self._cells:  # Tiles overlap by a pixel: their order shows.
            if cell in state.known:
                self._draw_tile(canvas, cell)
        if state.chest in state.known:
            self._draw_chest(canvas, flicker)
        self._draw_sparkles(canvas)
        self._draw_explorer(canvas, flicker)
        self._draw_map(canvas)
        if state.opened_at is not None:
            tint(canvas, (255, 235, 170, 80))
            for color, (x, y) in (((30, 20, 10), (113, 19)), ((255, 225, 150), (112, 18))):
                text = bold_text("Success", 18, color)
                canvas.blit(text, (x - text.get_width() // 2, y - text.get_height() // 2))
        return to_frame(canvas)

    def _look(self) -> None:
        state = self.state
        if state.opened_at is not None:
            state.known = state.in_view = frozenset(self._cells)
            return
        here = cell_at(*state.place)
        seen, border = {here}, [here]
        for _ in range(SIGHT_CELLS):
            border = [
                cell
                for row, column in border
                for cell in (
                    (row - 1, column),
                    (row + 1, column),
                    (row, column - 1),
                    (row, column + 1),
                )
                if cell not in seen and min(cell) >= 0 and max(cell) < NUM_CELLS
            ]
            seen.update(border)
            border = [cell for cell in border if not self.is_wall(cell)]
        state.in_view = frozenset(seen)
        state.known |= state.in_view

    def _remembered(self, cell: Cell) -> int:
        return int(self.is_wall(cell)) if cell in self.state.known else -1

    def _on_screen(self, x: float, y: float) -> tuple[int, int]:
        own_x, own_y = self.state.place
        return int(_MIDDLE + (x - own_x) * ZOOM), int(_MIDDLE + (y - own_y) * ZOOM)

    def _draw_tile(self, canvas: pygame.Surface, cell: Cell) -> None:
        state, (row, column) = self.state, cell
        is_wall = self.is_wall(cell)
        if state.opened_at is not None:
            level = 0.9 if is_wall else 1.0
        elif cell in state.in_view:
            level = 1.0
        else:
            level = 0.3 if is_wall else 0.5
        level += 0.06 * math.sin(0.12 * state.steps + 5 * row + 11 * column)
        color = mixed((0, 0, 0), _WALL if is_wall else _FLOOR, min(max(level, 0.15), 1.0))
        corner = self._on_screen(AREA_LOW_PX + CELL_PX * column, AREA_LOW_PX + CELL_PX * row)
        pygame.draw.rect(canvas, color, (*corner, 27, 27))

    def _draw_chest(self, canvas: pygame.Surface, flicker: float) -> None:
        state = self.state
        x, y = self._on_screen(*cell_centre(state.chest))
        is_open = state.opened_at is not None
        color = (230, 190, 80) if is_open else (170, 120, 40)
        if not is_open and state.chest not in state.in_view:
            color = mixed((0, 0, 0), color, 0.4)
        box = (x - 6, y - 3, 13, 10)
        pygame.draw.rect(canvas, color, box, border_radius=3)
        lid = (min(color[0] + 30, 255), min(color[1] + 30, 255), min(color[2] + 30, 255))
        pygame.draw.rect(canvas, lid, (x - 6, y - 6, 13, 3), border_radius=3)
        pygame.draw.rect(canvas, (0, 0, 0), (x - 1, y, 2, 5), border_radius=1)
        if is_open:
            blend_glow(canvas, (255, 225, 150), (x, y), 26, 100 * flicker)

    def _draw_sparkles(self, canvas: pygame.Surface) -> None:
        state = self.state
        if state.opened_at is None:
            return
        age = (state.steps - state.opened_at) / SPARKLE_STEPS
        alpha = int(255 * (1 - age))
        if age > 1 or alpha <= 0:
            return
        x, y = cell_centre(state.chest)
        reach = 1.2 * CELL_PX * age
        for index in range(16):
            angle = 2 * math.pi * index / 16
            place = (x + reach * math.cos(angle), y + 0.7 * reach * math.sin(angle))
            blend_disk(canvas, (255, 240, 190, alpha), self._on_screen(*place), 3)

    def _draw_explorer(self, canvas: pygame.Surface, flicker: float) -> None:
        state, centre = self.state, _MIDDLE
        side = 1 if state.facing[0] >= 0 else -1
        pygame.draw.ellipse(canvas, (90, 55, 30), (106, 106, 12, 14))
        pygame.draw.ellipse(canvas, (20, 10, 8), (106, 106, 12, 14), 1)
        pygame.draw.ellipse(canvas, (120, 85, 55), (107, 106, 9, 13))
        pygame.draw.circle(canvas, (230, 200, 170), (centre, 105), 4)
        pygame.draw.circle(canvas, (20, 10, 8), (centre, 105), 4, 1)
        pygame.draw.circle(canvas, (10, 5, 5), (centre + side, 105), 1)
        is_walking = math.hypot(*state.velocity) > 0.05
        for left, phase in ((109, 0.0), (112, math.pi)):
            lift = int(2 * math.sin(0.3 * state.steps + phase)) * is_walking
            pygame.draw.ellipse(canvas, (45, 30, 20), (left, 121 + lift, 3, 2))
        raised = -3 if state.facing[1] < -0.05 else 3 if state.facing[1] > 0.05 else 0
        lantern = (centre + 8 * side, 113 + raised)
        pygame.draw.circle(canvas, (255, 225, 150), lantern, 3)
        pygame.draw.circle(canvas, (20, 10, 8), lantern, 3, 1)
        blend_glow(canvas, (255, 235, 180), lantern, 23, 80 * flicker)

    def _draw_map(self, canvas: pygame.Surface) -> None:
        state = self.state
        pygame.draw.rect(canvas, (20, 20, 25), (3, 155, 66, 66), border_radius=3)
        pygame.draw.rect(canvas, (60, 60, 70), (3, 155, 66, 66), 1, border_radius=3)
        pygame.draw.rect(canvas, (5, 5, 8), (4, 156, 64, 64), border_radius=2)
        for cell in self._cells:
            corner = _map_corner(cell)
            pygame.draw.rect(canvas, _MAP_COLORS[self._remembered(cell)], (*corner, 7, 7))
        here = _map_corner(cell_at(*state.place))
        pygame.draw.rect(canvas, (210, 230, 255), (*here, 4, 4))
        if state.chest in state.known:
            pygame.draw.rect(canvas, (230, 190, 80), (*_map_corner(state.chest), 4, 4))


def make_game(variant: str) -> DungeonExplorer:
    """Make the maze ``"1"``."""
    return DungeonExplorer(LAYOUTS[variant])


def cell_centre(cell: Cell) -> tuple[float, float]:
    """Return the middle of a cell in pixels, x first."""
    row, column = cell
    return AREA_LOW_PX + CELL_PX * (column + 0.5), AREA_LOW_PX + CELL_PX * (row + 0.5)


def cell_at(x: float, y: float) -> Cell:
    """Return the cell at a place."""
    row, column = int((y - AREA_LOW_PX) / CELL_PX), int((x - AREA_LOW_PX) / CELL_PX)
    return min(max(row, 0), NUM_CELLS - 1), min(max(column, 0), NUM_CELLS - 1)


def _map_corner(cell: Cell) -> tuple[int, int]:
    row, column = cell
    return int(4 + 64 / NUM_CELLS * column), int(156 + 64 / NUM_CELLS * row)
