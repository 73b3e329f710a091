"""Highway: drive among slower and faster vehicles on five lanes."""

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
    new_layer,
    to_frame,
)
from reverie.envs.domains.miniarcade.effects import tint

SCROLL_PX = 6.0
FAST_PX = 7.2
THRUST, DAMPING = 0.65, 0.95
ROAD_TOP_PX, ROAD_BOTTOM_PX = 18, 206
LANE_PX, NUM_LANES = 37.6, 5
CAR_WIDTH_PX, CAR_HEIGHT_PX = 28, 18
NUM_SLOTS = 4
STICKY_STEPS, FLASH_FRAMES = 5, 3
SIGHT_PX = 70.0
"""A neighbouring lane is clear if nothing is nearer than this ahead."""
NARROW_PX = 84.0
"""Gaps ahead below this cost."""
NO_STICKY = -1
_CAP_STEPS = 499

GOOD_RETURN = 10
"""Return that counts as a full score."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of vehicle."""

    color: Color
    length: int
    is_fast: bool = False


KINDS = (
    Kind((95, 135, 212), 28),
    Kind((227, 188, 34), 28, is_fast=True),
    Kind((82, 140, 66), 56),
)
_YELLOW, _TRUCK = 1, 2


@dataclass(slots=True)
class Slot:
    """Room for one vehicle; inactive ones wait to be filled."""

    is_active: bool
    x: float
    y: float
    lane: int
    kind: int
    wait: int
    """Steps until an inactive slot may be filled."""
    timer: int
    """Steps that a collision still lasts."""

    @property
    def right(self) -> float:
        """Where the vehicle ends."""
        return self.x + KINDS[self.kind].length

    def box(self) -> pygame.Rect:
        """Return the vehicle's rectangle in pixels."""
        return pygame.Rect(int(self.x), int(self.y), KINDS[self.kind].length, CAR_HEIGHT_PX)


@dataclass(kw_only=True, slots=True)
class HighwayState:
    """Everything that changes. Pixels and pixels per step."""

    steps: int
    car: tuple[float, float, float, float]
    """Left x, top y and velocity of the agent."""
    dash_offset: float
    flash: int
    sticky: int
    """Slot of the collision in progress, -1 if none."""
    slots: list[Slot]


class Highway:
    """The game. A collision costs 1 and holds the car for some steps."""

    def __init__(self) -> None:
        """Start some episode."""
        self._background = StaticLayer(_paint_background)
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the car's place and the first vehicle."""
        x = float(rng.uniform(20.0, 60.0))
        lane = int(rng.integers(1, 3, endpoint=True))
        velocity = (float(rng.uniform(-0.2, 0.2)), float(rng.uniform(-0.2, 0.2)))
        waits = [int(rng.integers(0, 6, endpoint=True)) for _ in range(NUM_SLOTS)]
        self.state = HighwayState(
            steps=0,
            car=(x, lane_centre(lane) - CAR_HEIGHT_PX / 2, *velocity),
            dash_offset=0.0,
            flash=0,
            sticky=NO_STICKY,
            slots=[Slot(False, 0.0, 0.0, 0, 0, wait, 0) for wait in waits],
        )
        first = self.state.slots[0]
        kind, lane = int(rng.integers(len(KINDS))), int(rng.integers(NUM_LANES))
        _fill(first, kind, lane, float(CANVAS_PX + 40))

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Drive, drag a collision along, move and fill the slots."""
        state = self.state
        push = (float(action[0]), float(action[1]))
        state.car = _driven(state.car, push)
        state.dash_offset = (state.dash_offset + SCROLL_PX) % 32
        if state.sticky != NO_STICKY:
            self._drag_collision(rng)
        reward = self._move_traffic(rng) + self._shaping()
        state.steps += 1
        return reward - 0.0005 * (push[0] ** 2 + push[1] ** 2)

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return the car, the gaps around it and the vehicles."""
        state = self.state
        x, y, velocity_x, velocity_y = state.car
        centre = y + CAR_HEIGHT_PX / 2
        lane = lane_at(centre)
        left, right = self._gap(lane - 1), self._gap(lane + 1)
        offset = (centre - lane_centre(lane)) / (LANE_PX / 2)
        values = [x / CANVAS_PX, centre / CANVAS_PX, velocity_x / 10, velocity_y / 10]
        values += [state.flash / FLASH_FRAMES, _scaled_gap(self._gap(lane))]
        values += [float(lane > 0 and (left is None or left > SIGHT_PX))]
        values += [float(lane < NUM_LANES - 1 and (right is None or right > SIGHT_PX))]
        values += [_scaled_gap(left), _scaled_gap(right)]
        values += [min(max(offset, -1.0), 1.0), lane / (NUM_LANES - 1)]
        for slot in state.slots:
            if slot.is_active:
                middle = slot.y + CAR_HEIGHT_PX / 2
                values += [slot.x / CANVAS_PX, middle / CANVAS_PX, float(slot.kind == _TRUCK)]
            else:
                values += [-1.0, -1.0, -1.0]
        return np.array(values, dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return the part of the largest possible return."""
        return min(max(total_reward / GOOD_RETURN, 0.0), 1.0)

    def is_success(self) -> bool:
        """Return False: the benchmark defines no success here."""
        return False

    def is_over(self) -> bool:
        """Return False: the drive ends by its time limit only."""
        return False

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw road and vehicles. The dashes' period and the flash advance by drawing."""
        state = self.state
        canvas = new_canvas()
        self._background.show(canvas, None)
        state.dash_offset %= 24
        for lane in range(1, NUM_LANES):
            y = int(ROAD_TOP_PX + LANE_PX * lane)
            for x in range(-int(state.dash_offset), CANVAS_PX, 24):
                pygame.draw.line(canvas, (220, 220, 220), (x, y), (x + 14, y), 2)
        for y in (ROAD_TOP_PX, ROAD_BOTTOM_PX):
            pygame.draw.line(canvas, (200, 200, 200), (0, y), (CANVAS_PX, y), 2)
        for slot in state.slots:
            if slot.is_active:
                _draw_vehicle(canvas, slot.box(), KINDS[slot.kind].color, (40, 40, 40))
        car = _car_box(state.car)
        _draw_vehicle(canvas, car, (220, 60, 60), (120, 20, 20))
        arrow = new_layer(9, 9)
        fill_polygon(arrow, (220, 60, 60, 128), [(8, 4), (0, 0), (0, 8)])
        canvas.blit(arrow, (car.right + 4, car.centery - 4))
        if state.flash > 0:
            tint(canvas, (220, 60, 60, 50))
            state.flash -= 1
        return to_frame(canvas)

    def _speed(self, slot: Slot) -> float:
        if not KINDS[slot.kind].is_fast:
            return SCROLL_PX
        ahead = self._ahead(slot)
        if ahead is None:
            return FAST_PX
        is_near = slot.x - ahead.right <= max(KINDS[slot.kind].length, KINDS[ahead.kind].length)
        return SCROLL_PX if is_near else FAST_PX

    def _ahead(self, slot: Slot) -> Slot | None:
        others = [
            other
            for other in self.state.slots
            if other.is_active and other.lane == slot.lane and other.right <= slot.x
        ]
        return max(others, key=_right_edge, default=None)

    def _kept_apart(self, slot: Slot, x: float) -> float:
        ahead = self._ahead(slot) if KINDS[slot.kind].is_fast else None
        return x if ahead is None else max(x, ahead.right + 1)

    def _drag_collision(self, rng: np.random.Generator) -> None:
        state = self.state
        slot = state.slots[state.sticky]
        x, y, _, _ = state.car
        speed = self._speed(slot)
        next_slot, next_car = slot.x - speed, x - speed
        limit = next_slot - (CAR_WIDTH_PX - 1)
        is_over = next_car < 0 or limit < 0
        if not is_over:
            slot.x = self._kept_apart(slot, next_slot)
            slot.timer -= 1
            state.car = (min(next_car, limit), y, *state.car[2:])
            is_over = slot.right < 0 or slot.timer <= 0
        if is_over:
            _empty(slot, rng)
            state.car = (*state.car[:2], 0.0, 0.0)
            state.sticky = NO_STICKY

    def _move_traffic(self, rng: np.random.Generator) -> float:
        state = self.state
        cap = int(1 + 3 * min(state.steps / _CAP_STEPS, 1.0) + 1e-9)
        car, num_active, reward = _car_box(state.car), 0, 0.0
        for index, slot in enumerate(state.slots):
            if not slot.is_active:
                slot.wait = max(slot.wait - 1, 0)
                if slot.wait == 0 and num_active < cap:
                    slot.wait = 0 if self._try_to_fill(slot, rng) else 1
                    num_active += slot.is_active
                continue
            num_active += 1
            if index == state.sticky:
                continue
            slot.x = self._kept_apart(slot, slot.x - self._speed(slot))
            if state.sticky == NO_STICKY and slot.box().colliderect(car):
                slot.timer, state.sticky, state.flash = STICKY_STEPS, index, FLASH_FRAMES
                reward -= 1.0
            if slot.timer == 0 and slot.right < 0:
                _empty(slot, rng)
        return reward

    def _try_to_fill(self, slot: Slot, rng: np.random.Generator) -> bool:
        kind = int(rng.integers(len(KINDS)))
        for _ in range(8):
            lane = int(rng.integers(NUM_LANES))
            x = CANVAS_PX + float(rng.uniform(20.0, 60.0))
            if not any(
                other.is_active
                and other.lane == lane
                and abs(other.x - x) < max(KINDS[kind].length, KINDS[other.kind].length) + 18
                for other in self.state.slots
            ):
                _fill(slot, kind, lane, x)
                return True
        return False

    def _gap(self, lane: int) -> float | None:
        front = self.state.car[0] + CAR_WIDTH_PX
        gaps = [
            slot.x - front
            for slot in self.state.slots
            if slot.is_active and slot.lane == lane and slot.x >= front
        ]
        return min(gaps, default=None)

    def _shaping(self) -> float:
        centre = self.state.car[1] + CAR_HEIGHT_PX / 2
        lane = lane_at(centre)
        reward = 0.01 * math.exp(-(((centre - lane_centre(lane)) / (LANE_PX / 2)) ** 2))
        gap = self._gap(lane)
        if gap is None:
            return reward + 0.01
        return reward + (0.005 if gap >= NARROW_PX else -0.02 * (1 - gap / NARROW_PX))


def make_game(variant: str) -> Highway:
    """Make the game; it has no variants."""
    if variant:
        raise ValueError(f"Highway has no variants, got '{variant}'.")
    return Highway()


def lane_centre(lane: int) -> float:
    """Return the middle of a lane, in pixels from the top."""
    return ROAD_TOP_PX + LANE_PX * (lane + 0.5)


def lane_at(y: float) -> int:
    """Return the lane at a height."""
    return min(max(int((y - ROAD_TOP_PX) / LANE_PX), 0), NUM_LANES - 1)


def _right_edge(slot: Slot) -> float:
    return slot.right


def _scaled_gap(gap: float | None) -> float:
    return -1.0 if gap is None else min(gap / CANVAS_PX, 1.0)


def _driven(
    car: tuple[float, float, float, float], push: tuple[float, float]
) -> tuple[float, float, float, float]:
    x, y, velocity_x, velocity_y = car
    velocity_x, velocity_y = velocity_x + THRUST * push[0], velocity_y + THRUST * push[1]
    x = min(max(x + velocity_x, 0.0), float(CANVAS_PX - CAR_WIDTH_PX))
    y = min(max(y + velocity_y, float(ROAD_TOP_PX)), float(ROAD_BOTTOM_PX - CAR_HEIGHT_PX))
    return x, y, velocity_x * DAMPING, velocity_y * DAMPING


def _car_box(car: tuple[float, float, float, float]) -> pygame.Rect:
    return pygame.Rect(int(car[0]), int(car[1]), CAR_WIDTH_PX, CAR_HEIGHT_PX)


def _fill(slot: Slot, kind: int, lane: int, x: float) -> None:
    slot.is_active, slot.kind, slot.lane, slot.timer = True, kind, lane, 0
    slot.x, slot.y = x, lane_centre(lane) - CAR_HEIGHT_PX / 2


def _empty(slot: Slot, rng: np.random.Generator) -> None:
    slot.is_active, slot.timer = False, 0
    slot.wait = int(rng.integers(4, 10, endpoint=True))


def _paint_background(canvas: pygame.Surface, key: None) -> None:
    canvas.fill((97, 133, 80))
    height = ROAD_BOTTOM_PX - ROAD_TOP_PX
    pygame.draw.rect(canvas, (60, 60, 60), (0, ROAD_TOP_PX, CANVAS_PX, height))


def _draw_vehicle(canvas: pygame.Surface, box: pygame.Rect, color: Color, edge: Color) -> None:
    pygame.draw.rect(canvas, color, box)
    pygame.draw.rect(canvas, edge, box, 2)
    inset = int(0.22 * box.width)
    for x in (box.left + inset, box.right - inset):
        for y in (box.top + 2, box.bottom - 2):
            pygame.draw.circle(canvas, (20, 20, 20), (x, y), 2)
