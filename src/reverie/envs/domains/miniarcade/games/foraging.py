"""Foraging: carry logs to a cabin."""

import math
from dataclasses import dataclass

import numpy as np
import pygame
from jaxtyping import Float32, UInt8

from reverie.envs.domains.miniarcade.canvas import (
    CANVAS_PX,
    Color,
    StaticLayer,
    fill_polygon,
    new_canvas,
    regular_text,
    to_frame,
)

AREA_LOW_PX, AREA_SIDE_PX = 20, 184
BASE = (112.0, 167.2)
AGENT_RADIUS_PX = 8
SPEED_PX = 4.0
LOW_PX, HIGH_PX = 29.0, 195.0
PICK_REACH_PX, DROP_REACH_PX = 14.0, 20.0
NUM_LOGS = 3
POPUP_STEPS = 20
_CELL_PX, _NUM_CELLS = 16, 12
_BORDER, _EDGE = (190, 200, 210), (22, 60, 28)
_LARGE_LOGS, _SMALL_LOGS = ((18, 7), (15, 6), (13, 5)), ((11, 4), (9, 4), (8, 3))

Point = tuple[float, float]
Grass = tuple[tuple[Color, ...], ...]


@dataclass(slots=True)
class Popup:
    """A "+1" that rises and fades."""

    x: int
    y: int
    start: int


@dataclass(kw_only=True, slots=True)
class ForagingState:
    """Everything that changes. Pixels and pixels per step; y points down."""

    steps: int
    place: Point
    velocity: Point
    is_carrying: bool
    logs: list[Point | None]
    """Where each log lies; None for the one that is carried."""
    grass: Grass
    """Colours of the cells, row by row."""
    popups: list[Popup]


class Foraging:
    """The game. Picking a log up and bringing it home pay; being near the next goal pays a bit."""

    def __init__(self) -> None:
        """Start some episode."""
        self._field = StaticLayer(_paint_field)
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the agent's place, the logs and the grass."""
        self.state = ForagingState(
            steps=0,
            place=_draw_place(rng, 9.2),
            velocity=(0.0, 0.0),
            is_carrying=False,
            logs=[_draw_place(rng, 36.8) for _ in range(NUM_LOGS)],
            grass=_draw_grass(rng),
            popups=[],
        )

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Walk, pick up, deliver."""
        state, reward = self.state, -0.005
        state.velocity = (SPEED_PX * float(action[0]), SPEED_PX * float(action[1]))
        x, y = state.place[0] + state.velocity[0], state.place[1] + state.velocity[1]
        state.place = (min(max(x, LOW_PX), HIGH_PX), min(max(y, LOW_PX), HIGH_PX))
        if not state.is_carrying:
            near = [k for k, log in enumerate(state.logs) if self._is_within(log, PICK_REACH_PX)]
            if near:
                state.is_carrying, state.logs[near[0]] = True, None
                reward += 0.3
        if state.is_carrying and self._is_within(BASE, DROP_REACH_PX):
            state.is_carrying = False
            state.logs = [log or _draw_place(rng, 36.8) for log in state.logs]
            top = int(state.place[1] - AGENT_RADIUS_PX - 4)
            state.popups.append(Popup(int(state.place[0]), top, state.steps))
            reward += 1.5
        state.steps += 1
        oldest = state.steps - POPUP_STEPS
        state.popups = [popup for popup in state.popups if popup.start >= oldest]
        return reward + 0.2 * (1 - min(self._target_distance() / AREA_SIDE_PX, 1.0))

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return the agent, the base, the load and the logs that lie about."""
        state = self.state
        values = [value / CANVAS_PX for value in state.place]
        values += [value / SPEED_PX for value in state.velocity]
        values += [*(value / CANVAS_PX for value in BASE), float(state.is_carrying)]
        for log in state.logs:
            values += [0.0] * 3 if log is None else [log[0] / CANVAS_PX, log[1] / CANVAS_PX, 1.0]
        return np.array(values, dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return the return as a part of 100."""
        return min(max(total_reward / 100, 0.0), 1.0)

    def is_success(self) -> bool:
        """Return False: the benchmark defines no success here."""
        return False

    def is_over(self) -> bool:
        """Return False: the day ends by its time limit only."""
        return False

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the field, the cabin, the logs and the agent."""
        state = self.state
        canvas = new_canvas()
        self._field.show(canvas, state.grass)
        for index in range(3):
            sway = 2 * math.sin(0.2 * state.steps + 0.4 * index)
            puff = (120, 145 + int(-4 * index - sway))
            pygame.draw.circle(canvas, (190, 190, 190), puff, 3 - index)
        for log in state.logs:
            if log is not None:
                _draw_stack(canvas, (int(log[0]), int(log[1])), _LARGE_LOGS)
        x, y = int(state.place[0]), int(state.place[1])
        pygame.draw.rect(canvas, (40, 60, 110), (x - 4, y + 4, 8, 4))
        pygame.draw.rect(canvas, (70, 120, 200), (x - 4, y - 5, 8, 10))
        pygame.draw.circle(canvas, (190, 160, 120), (x, y - 7), 4)
        if state.is_carrying:
            _draw_stack(canvas, (x, y - 14), _SMALL_LOGS)
        for popup in state.popups:
            _draw_popup(canvas, popup, (state.steps - popup.start) / POPUP_STEPS)
        return to_frame(canvas)

    def _is_within(self, place: Point | None, reach: float) -> bool:
        return place is not None and math.dist(self.state.place, place) <= reach

    def _target_distance(self) -> float:
        lying = [] if self.state.is_carrying else [log for log in self.state.logs if log]
        return min(math.dist(self.state.place, target) for target in lying or [BASE])


def make_game(variant: str) -> Foraging:
    """Make the game; it has no variants."""
    if variant:
        raise ValueError(f"Foraging has no variants, got '{variant}'.")
    return Foraging()


def _draw_place(rng: np.random.Generator, nearest: float) -> Point:
    while True:
        place = (float(rng.uniform(26.0, 198.0)), float(rng.uniform(26.0, 198.0)))
        if math.dist(place, BASE) >= nearest:
            return place


def _draw_grass(rng: np.random.Generator) -> Grass:
    noise = rng.uniform(-20.0, 20.0, (_NUM_CELLS, _NUM_CELLS))
    rows: list[tuple[Color, ...]] = []
    for row in range(_NUM_CELLS):
        colors: list[Color] = []
        for column in range(_NUM_CELLS):
            area = noise[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            mean = float(area.mean())
            red, green = min(max(32 + 0.8 * mean, 15), 110), min(max(80 + 1.2 * mean, 40), 150)
            blue = min(max(36 + 0.6 * mean, 15), 110)
            colors.append((int(red), int(green), int(blue)))
        rows.append(tuple(colors))
    return tuple(rows)


def _paint_field(canvas: pygame.Surface, grass: Grass) -> None:
    canvas.fill((12, 16, 20))
    area = pygame.Rect(AREA_LOW_PX, AREA_LOW_PX, AREA_SIDE_PX, AREA_SIDE_PX)
    for row, colors in enumerate(grass):
        for column, color in enumerate(colors):
            corner = (AREA_LOW_PX + _CELL_PX * column, AREA_LOW_PX + _CELL_PX * row)
            cell = pygame.Rect(*corner, _CELL_PX, _CELL_PX).clip(area)
            pygame.draw.rect(canvas, color, cell)
    low, high = area.left, area.right
    for along in (*range(low, high, _CELL_PX), high):
        pygame.draw.line(canvas, _EDGE, (along, low), (along, high))
        pygame.draw.line(canvas, _EDGE, (low, along), (high, along))
    pygame.draw.rect(canvas, _BORDER, area, 2)
    for index in range(8):
        x = round(30 + index * 164 / 7)
        pygame.draw.rect(canvas, (80, 55, 35), (x - 2, 16, 4, 10))
        fill_polygon(canvas, (30, 90, 40), [(x, 2), (x - 8, 16), (x + 8, 16)])
    _paint_cabin(canvas)


def _paint_cabin(canvas: pygame.Surface) -> None:
    pygame.draw.rect(canvas, (120, 120, 130), (96, 179, 32, 4))
    for box, color, edge in (
        ((98, 155, 28, 24), (140, 90, 50), (90, 55, 30)),
        ((109, 166, 7, 13), (70, 45, 25), (40, 25, 15)),
    ):
        pygame.draw.rect(canvas, color, box)
        pygame.draw.rect(canvas, edge, box, 1)
    pygame.draw.circle(canvas, (210, 200, 160), (113, 172), 1)
    fill_polygon(canvas, (70, 40, 25), [(96, 155), (128, 155), (112, 145)])
    pygame.draw.rect(canvas, (110, 80, 70), (118, 147, 4, 8))


def _draw_stack(
    canvas: pygame.Surface, centre: tuple[int, int], sizes: tuple[tuple[int, int], ...]
) -> None:
    top = centre[1] - sizes[0][1] // 2
    for index, (length, height) in enumerate(sizes):
        if index:
            top += 2 - height
        log = pygame.Rect(centre[0] - length // 2, top, length, height)
        pygame.draw.rect(canvas, (150, 98, 52), log, border_radius=2)
        pygame.draw.rect(canvas, (100, 65, 35), log, 1, border_radius=2)
        if index == 0:
            for x in (log.left + 3, log.right - 4):
                line = ((x, log.top + 2), (x, log.bottom - 2))
                pygame.draw.line(canvas, (190, 135, 70), *line)


def _draw_popup(canvas: pygame.Surface, popup: Popup, age: float) -> None:
    text = regular_text("+1", 10, (80, 240, 120)).copy()
    text.set_alpha(int(255 * (1 - age)))
    y = popup.y - int(8 * age)
    canvas.blit(text, (popup.x - text.get_width() // 2, y - text.get_height() // 2))
