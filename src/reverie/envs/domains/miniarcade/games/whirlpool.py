"""Whirlpool: catch fish that circle a whirlpool, and keep out of it."""

import math
from dataclasses import dataclass

import numpy as np
import pygame
from jaxtyping import Float32, UInt8

from reverie.envs.domains.miniarcade.canvas import (
    CANVAS_PX,
    StaticLayer,
    bold_text,
    fill_polygon,
    new_canvas,
    new_layer,
    to_frame,
)
from reverie.envs.domains.miniarcade.effects import (
    blend_disk,
    blend_glow,
    fill_gradient,
    tint,
    unit,
)

AREA = (14, 14, 196, 196)
CENTRE = (112.0, 112.0)
THRUST, DAMPING, MAX_SPEED_PX = 0.95, 0.9, 3.4
LOW_PX, HIGH_PX = 21.0, 203.0
POOL_RADIUS_PX, AGENT_RADIUS_PX = 14, 7
NUM_FISH, FISH_SPEED_PX, FISH_PULL_PX = 7, 2.0, 0.20
FISH_LOW_PX, FISH_HIGH_PX = 17.2, 206.8
SWALLOW_PX, CATCH_PX = 15.0, 10.2
COLORS = ((255, 235, 140), (255, 175, 95), (255, 155, 145))
_MARKS = ((-0.352, -0.624), (2.464, -0.416), (2.112, -0.499))
"""Ends of a fish's highlight, and its eye: forward and sideways from its middle."""
_BODY = (
    (3.872, 0.0),
    (0.704, -2.288),
    (-3.168, -0.832),
    (-7.008, -2.288),
    (-3.872, 0.0),
    (-7.008, 2.288),
    (-3.168, 0.832),
    (0.704, 2.288),
)

Point = tuple[float, float]


@dataclass(slots=True)
class Fish:
    """One fish: it circles for half a turn, then drifts inward."""

    place: Point
    velocity: Point
    color: int
    lap: float
    """Angle travelled so far, radians."""
    angle: float


@dataclass(slots=True)
class Splash:
    """Rings on the water."""

    place: Point
    start: int
    is_agent: bool


@dataclass(kw_only=True, slots=True)
class WhirlpoolState:
    """Everything that changes. Pixels and pixels per step; y points down."""

    steps: int
    agent: tuple[float, float, float, float]
    """Place and velocity."""
    fish: list[Fish]
    splashes: list[Splash]
    num_caught: int


class Whirlpool:
    """The game. A fish pays 1, each step in the whirlpool costs 1."""

    def __init__(self) -> None:
        """Start some episode."""
        self._background = StaticLayer(_paint_background)
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the agent's place and the fish."""
        # Differs from the release: there splashes outlive a reset, unseen.
        place = CENTRE
        while math.dist(place, CENTRE) < 60:
            place = (float(rng.uniform(LOW_PX, HIGH_PX)), float(rng.uniform(LOW_PX, HIGH_PX)))
        self.state = WhirlpoolState(
            steps=0,
            agent=(*place, 0.0, 0.0),
            fish=[_draw_fish(rng) for _ in range(NUM_FISH)],
            splashes=[],
            num_caught=0,
        )

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Swim, be swept along, meet whirlpool and fish."""
        state, reward = self.state, -0.001
        self._swim(float(action[0]), float(action[1]))
        x, y, velocity_x, velocity_y = state.agent
        if math.dist((x, y), CENTRE) < POOL_RADIUS_PX + AGENT_RADIUS_PX:
            reward -= 1.0
            state.splashes.append(Splash((x, y), state.steps, is_agent=True))
            right, down = unit(x - CENTRE[0], y - CENTRE[1])
            pushed = (_inside(x + 2 * right), _inside(y + 2 * down))
            state.agent = (*pushed, velocity_x + 2.7 * right, velocity_y + 2.7 * down)
        for index, fish in enumerate(state.fish):
            _swim_fish(fish)
            if math.dist(fish.place, CENTRE) <= SWALLOW_PX:
                state.splashes.append(Splash(fish.place, state.steps, is_agent=False))
                state.fish[index] = fish = _draw_fish(rng)
            if math.dist(fish.place, state.agent[:2]) <= CATCH_PX:
                reward += 1.0
                state.num_caught += 1
                state.fish[index] = _draw_fish(rng)
        state.steps += 1
        oldest = state.steps - 24
        state.splashes = [splash for splash in state.splashes if splash.start >= oldest]
        return reward

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return the agent, the fish as seen from it, and the time."""
        state = self.state
        x, y, velocity_x, velocity_y = state.agent
        values = [(x - 14) / 196, (y - 14) / 196]
        values += [velocity_x / MAX_SPEED_PX, velocity_y / MAX_SPEED_PX]
        for fish in state.fish:
            values += [_clipped((fish.place[0] - x) / 196), _clipped((fish.place[1] - y) / 196)]
            values += [_clipped(speed / FISH_SPEED_PX) for speed in fish.velocity]
            values += [fish.color / 2]
        return np.array([*values, state.steps / 500], dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return the return as a part of 7."""
        return min(max(total_reward / 7, 0.0), 1.0)

    def is_success(self) -> bool:
        """Return False: the benchmark defines no success here."""
        return False

    def is_over(self) -> bool:
        """Return False: the hunt ends by its time limit only."""
        return False

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the water, the fish and the agent."""
        state = self.state
        canvas = new_canvas()
        self._background.show(canvas, None)
        _draw_streaks(canvas, state.steps)
        waves = 10 * math.sin(0.10 * state.steps) + 6 * math.sin(0.33 * state.steps + 1.1)
        tint(canvas, (180, 240, 255, min(max(int(22 + waves), 16), 36)))
        for splash in state.splashes:
            _draw_splash(canvas, splash, state.steps - splash.start)
        for fish in state.fish:
            _draw_fish_shape(canvas, fish)
        centre = (int(state.agent[0]), int(state.agent[1]))
        pygame.draw.circle(canvas, (210, 245, 255), centre, AGENT_RADIUS_PX)
        pygame.draw.circle(canvas, (120, 210, 255), centre, AGENT_RADIUS_PX, 1)
        label = f"Score: {state.num_caught}"
        canvas.blit(bold_text(label, 16, (10, 25, 40)), (9, 7))
        canvas.blit(bold_text(label, 16, (245, 250, 255)), (8, 6))
        return to_frame(canvas)

    def _swim(self, right: float, down: float) -> None:
        x, y, velocity_x, velocity_y = self.state.agent
        distance = math.dist((x, y), CENTRE)
        out_x, out_y = unit(x - CENTRE[0], y - CENTRE[1])
        drag_x = -0.010 * distance * out_x - 0.035 * out_y
        drag_y = -0.010 * distance * out_y + 0.035 * out_x
        weaken = min(1.0, 0.10 / max(math.hypot(drag_x, drag_y), 1e-9))
        velocity_x = (velocity_x + THRUST * right + weaken * drag_x) * DAMPING
        velocity_y = (velocity_y + THRUST * down + weaken * drag_y) * DAMPING
        slow = min(1.0, MAX_SPEED_PX / max(math.hypot(velocity_x, velocity_y), 1e-9))
        velocity_x, velocity_y = velocity_x * slow, velocity_y * slow
        self.state.agent = (
            _inside(x + velocity_x),
            _inside(y + velocity_y),
            velocity_x,
            velocity_y,
        )


def make_game(variant: str) -> Whirlpool:
    """Make the game; it has no variants."""
    if variant:
        raise ValueError(f"Whirlpool has no variants, got '{variant}'.")
    return Whirlpool()


def _inside(value: float) -> float:
    return min(max(value, LOW_PX), HIGH_PX)


def _clipped(value: float) -> float:
    return min(max(value, -1.0), 1.0)


def _circling(place: Point, pull: float) -> Point:
    right, down = unit(place[0] - CENTRE[0], place[1] - CENTRE[1])
    return -FISH_SPEED_PX * down - pull * right, FISH_SPEED_PX * right - pull * down


def _angle(place: Point) -> float:
    return math.atan2(place[1] - CENTRE[1], place[0] - CENTRE[0])


def _draw_fish(rng: np.random.Generator) -> Fish:
    radius, angle = float(rng.uniform(56.0, 94.08)), float(rng.uniform(0.0, 2 * math.pi))
    x = min(max(CENTRE[0] + radius * math.cos(angle), FISH_LOW_PX), FISH_HIGH_PX)
    y = min(max(CENTRE[1] + radius * math.sin(angle), FISH_LOW_PX), FISH_HIGH_PX)
    return Fish((x, y), _circling((x, y), 0.0), int(rng.integers(3)), 0.0, _angle((x, y)))


def _swim_fish(fish: Fish) -> None:
    angle = _angle(fish.place)
    fish.lap += abs(math.remainder(angle - fish.angle, 2 * math.pi))
    fish.angle = angle
    fish.velocity = _circling(fish.place, FISH_PULL_PX if fish.lap >= math.pi else 0.0)
    x, y = fish.place[0] + fish.velocity[0], fish.place[1] + fish.velocity[1]
    x = min(max(x, FISH_LOW_PX), FISH_HIGH_PX)
    fish.place = (x, min(max(y, FISH_LOW_PX), FISH_HIGH_PX))


def _paint_background(canvas: pygame.Surface, key: None) -> None:
    fill_gradient(canvas, ((18, 55, 95), (8, 80, 115)), rows=(0, CANVAS_PX), span=CANVAS_PX - 1)
    pygame.draw.rect(canvas, (10, 65, 100), AREA, border_radius=18)
    pygame.draw.rect(canvas, (80, 180, 205), AREA, 2, border_radius=18)
    for index in range(7):
        color = (160, 230, 255, 70 - 8 * index)
        blend_disk(canvas, color, (113, 113), POOL_RADIUS_PX + 6 * index, width=2)


def _draw_streaks(canvas: pygame.Surface, steps: int) -> None:
    layer = new_layer(CANVAS_PX, CANVAS_PX)
    for index in range(16):
        angle = 2 * math.pi * index / 16 + 0.04 * steps
        radius = 20 + 38 * (0.5 + 0.5 * math.sin(1.7 * angle + 1.3))
        sine, cosine = math.sin(angle), math.cos(angle)
        x, y = CENTRE[0] + radius * cosine, CENTRE[1] + radius * sine
        right, down = unit(-0.85 * sine - 0.15 * cosine, 0.85 * cosine - 0.15 * sine)
        tail = (int(x - 4.9 * right), int(y - 4.9 * down))
        head = (int(x + 14 * right), int(y + 14 * down))
        alpha = min(max(int(55 + 85 * (1 - (radius - 20) / 38)), 25), 140)
        pygame.draw.line(layer, (170, 235, 255, alpha), tail, head, 2)
    canvas.blit(layer, (0, 0))


def _draw_splash(canvas: pygame.Surface, splash: Splash, age: int) -> None:
    life, first, last = (24, 6, 28) if splash.is_agent else (20, 4, 20)
    red, green = (200, 245) if splash.is_agent else (210, 250)
    alpha = int(180 * (1 - age / life))
    if age > life or alpha <= 0:
        return
    spread = 1 - (1 - age / life) ** 2
    centre = (int(splash.place[0]), int(splash.place[1]))
    for index in range(3 if splash.is_agent else 2):
        start, end = first + 2 * index, last + 6 * index
        width = 2 if index == 0 else 1
        radius = int(start + (end - start) * spread)
        blend_disk(canvas, (red, green, 255, alpha), centre, radius, width=width)


def _draw_fish_shape(canvas: pygame.Surface, fish: Fish) -> None:
    color = COLORS[fish.color]
    blend_glow(canvas, color, (int(fish.place[0]), int(fish.place[1])), 8, 30.0)
    tail, head, eye, *body = _turned((*_MARKS, *_BODY), fish)
    fill_polygon(canvas, color, body)
    pygame.draw.line(canvas, (255, 255, 255), tail, head)
    pygame.draw.circle(canvas, (10, 10, 20), eye, 1)


def _turned(shape: tuple[Point, ...], fish: Fish) -> list[tuple[int, int]]:
    x, y = fish.place
    ahead_x, ahead_y = unit(*fish.velocity)
    return [
        (
            int(x + forward * ahead_x - side * ahead_y),
            int(y + forward * ahead_y + side * ahead_x),
        )
        for forward, side in shape
    ]
