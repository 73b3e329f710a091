"""Rocket collect: fly to coins while asteroids bounce about."""

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
    fill_rows,
    new_canvas,
    to_frame,
)
from reverie.envs.domains.miniarcade.effects import blend_disk, shifted, tint

THRUST, DAMPING, MAX_SPEED_PX = 0.75, 0.98, 4.0
ROCKET_RADIUS_PX, COIN_RADIUS_PX, ASTEROID_RADIUS_PX = 10, 9, 14
LOW_PX, HIGH_PX = 15.0, 209.0
"""Where the rocket's centre may be, in both directions."""
NUM_STARS = 40
EFFECT_FRAMES, TEXT_FRAMES, COLLISION_STEPS = 8, 20, 6
_FONT_PX = 16


@dataclass(slots=True)
class Asteroid:
    """One asteroid; once it is inside, it bounces off the walls."""

    place: tuple[float, float]
    velocity: tuple[float, float]
    angle: float
    spin: float
    has_entered: bool
    shape: tuple[tuple[float, float], ...]
    """Vertices about its centre at angle 0."""


@dataclass(kw_only=True, slots=True)
class RocketState:
    """Everything that changes. Pixels and pixels per step; y points down."""

    steps: int
    agent: tuple[float, float, float, float]
    """Place and velocity of the rocket."""
    coin: tuple[float, float]
    asteroids: list[Asteroid]
    num_coins: int
    collision_timer: int
    effects: list[tuple[float, float, int]]
    """Rings of collected coins: place and frames left."""
    texts: list[tuple[float, float, int]]
    stars: tuple[tuple[int, int, int], ...]
    """Place and radius."""


class RocketCollect:
    """The game. A coin pays 1, each step in an asteroid costs 0.2."""

    def __init__(self) -> None:
        """Start some episode."""
        self._background = StaticLayer(_paint_background)
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the coin, one asteroid and the stars."""
        self.state = RocketState(
            steps=0,
            agent=(112.0, 184.0, 0.0, 0.0),
            coin=_draw_coin(rng),
            asteroids=[_draw_asteroid(rng)],
            num_coins=0,
            collision_timer=0,
            effects=[],
            texts=[],
            stars=tuple(
                (int(rng.integers(224)), int(rng.integers(224)), int(rng.integers(1, 3)))
                for _ in range(NUM_STARS)
            ),
        )

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Fly, move the asteroids, collect and collide."""
        state = self.state
        state.agent = _flown(state.agent, float(action[0]), float(action[1]))
        for asteroid in state.asteroids:
            _move_asteroid(asteroid)
        x, y = state.agent[:2]
        distance = math.hypot(state.coin[0] - x, state.coin[1] - y)
        reward = 0.002 * (1 - min(distance / math.hypot(CANVAS_PX, CANVAS_PX), 1.0))
        if distance < ROCKET_RADIUS_PX + COIN_RADIUS_PX:
            reward += 1.0
            state.num_coins += 1
            state.effects.append((*state.coin, EFFECT_FRAMES))
            state.texts.append((x, y - 15, TEXT_FRAMES))
            state.coin = _draw_coin(rng)
        for asteroid in state.asteroids:
            gap = math.hypot(asteroid.place[0] - x, asteroid.place[1] - y)
            if gap < ROCKET_RADIUS_PX + ASTEROID_RADIUS_PX:
                reward -= 0.2
                state.collision_timer = COLLISION_STEPS
        state.steps += 1
        while len(state.asteroids) < min(1 + state.steps // 150, 3):
            state.asteroids.append(_draw_asteroid(rng))
        state.collision_timer = max(state.collision_timer - 1, 0)
        return reward

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return rocket, coin and up to three asteroids."""
        state = self.state
        x, y, velocity_x, velocity_y = state.agent
        values = [x / 224, y / 224, velocity_x / MAX_SPEED_PX, velocity_y / MAX_SPEED_PX]
        values += [state.coin[0] / 224, state.coin[1] / 224]
        values += [(state.coin[0] - x) / 224, (state.coin[1] - y) / 224]
        values += [float(state.collision_timer > 0)]
        for asteroid in state.asteroids:
            values += [place / CANVAS_PX for place in asteroid.place]
            values += [speed / MAX_SPEED_PX for speed in asteroid.velocity]
        values += [0.0] * (21 - len(values))
        return np.array(values, dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return the return as a part of 25."""
        return min(max(total_reward / 25, 0.0), 1.0)

    def is_success(self) -> bool:
        """Return False: the benchmark defines no success here."""
        return False

    def is_over(self) -> bool:
        """Return False: the flight ends by its time limit only."""
        return False

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the flight. Flame and shake are fresh draws; rings and texts age by drawing."""
        state = self.state
        canvas = new_canvas()
        self._background.show(canvas, state.stars)
        self._draw_rocket(canvas, rng)
        for asteroid in state.asteroids:
            fill_polygon(canvas, (120, 120, 120), _turned(asteroid))
        coin = (int(state.coin[0]), int(state.coin[1]))
        pygame.draw.circle(canvas, (255, 215, 0), coin, COIN_RADIUS_PX)
        pygame.draw.circle(canvas, (200, 120, 0), coin, COIN_RADIUS_PX, 2)
        self._draw_effects(canvas)
        if state.collision_timer > 0:
            tint(canvas, (255, 0, 0, 80))
            right = int(rng.integers(-3, 3, endpoint=True))
            canvas = shifted(canvas, right, int(rng.integers(-3, 3, endpoint=True)))
        return to_frame(canvas)

    def _draw_rocket(self, canvas: pygame.Surface, rng: np.random.Generator) -> None:
        x, y = int(self.state.agent[0]), int(self.state.agent[1])
        speed = math.hypot(*self.state.agent[2:])
        fill_polygon(canvas, (180, 180, 255), [(x, y - 14), (x - 8, y + 10), (x + 8, y + 10)])
        for side in (-1, 1):
            fin = [(x + 8 * side, y + 10), (x + 12 * side, y + 16), (x + 4 * side, y + 10)]
            fill_polygon(canvas, (150, 150, 200), fin)
        if speed > 0.05:
            length = int(3 + 4 * speed + int(rng.integers(-1, 1, endpoint=True)))
            color = (255, int(rng.integers(150, 199, endpoint=True)), 80)
            flame = [(x - 3, y + 10), (x + 3, y + 10), (x, y + 10 + length)]
            fill_polygon(canvas, color, flame)

    def _draw_effects(self, canvas: pygame.Surface) -> None:
        state = self.state
        for x, y, left in state.effects:
            radius = int(COIN_RADIUS_PX + 2 * (EFFECT_FRAMES - left))
            color = (255, 220, 100, int(255 * left / EFFECT_FRAMES))
            blend_disk(canvas, color, (int(x), int(y)), radius, width=2)
        canvas.blit(bold_text(f"Score: {state.num_coins}", _FONT_PX, (255, 255, 255)), (5, 5))
        for x, y, left in state.texts:
            text = bold_text("+1", _FONT_PX, (255, 255, 0)).copy()
            text.set_alpha(int(255 * left / TEXT_FRAMES))
            canvas.blit(text, (int(x), int(y - (TEXT_FRAMES - left) / 2)))
        state.effects = [(x, y, left - 1) for x, y, left in state.effects if left > 1]
        state.texts = [(x, y, left - 1) for x, y, left in state.texts if left > 1]


def make_game(variant: str) -> RocketCollect:
    """Make the game; it has no variants."""
    if variant:
        raise ValueError(f"Rocket collect has no variants, got '{variant}'.")
    return RocketCollect()


def _flown(
    agent: tuple[float, float, float, float], right: float, down: float
) -> tuple[float, float, float, float]:
    x, y, velocity_x, velocity_y = agent
    velocity_x = (velocity_x + THRUST * right) * DAMPING
    velocity_y = (velocity_y + THRUST * down) * DAMPING
    speed = math.hypot(velocity_x, velocity_y)
    if speed > MAX_SPEED_PX:
        velocity_x *= MAX_SPEED_PX / speed
        velocity_y *= MAX_SPEED_PX / speed
    x = min(max(x + velocity_x, LOW_PX), HIGH_PX)
    return x, min(max(y + velocity_y, LOW_PX), HIGH_PX), velocity_x, velocity_y


def _move_asteroid(asteroid: Asteroid) -> None:
    low, high = float(ASTEROID_RADIUS_PX), float(CANVAS_PX - ASTEROID_RADIUS_PX)
    (x, y), (velocity_x, velocity_y) = asteroid.place, asteroid.velocity
    x, y = x + velocity_x, y + velocity_y
    asteroid.angle += asteroid.spin
    is_inside = low <= x <= high and low <= y <= high
    if asteroid.has_entered:
        if not low <= x <= high:
            x, velocity_x = min(max(x, low), high), -velocity_x
        if not low <= y <= high:
            y, velocity_y = min(max(y, low), high), -velocity_y
    asteroid.has_entered = asteroid.has_entered or is_inside
    asteroid.place, asteroid.velocity = (x, y), (velocity_x, velocity_y)


def _turned(asteroid: Asteroid) -> list[tuple[float, float]]:
    sine, cosine = math.sin(asteroid.angle), math.cos(asteroid.angle)
    left, top = asteroid.place
    return [(left + x * cosine - y * sine, top + x * sine + y * cosine) for x, y in asteroid.shape]


def _draw_coin(rng: np.random.Generator) -> tuple[float, float]:
    x = float(rng.integers(30, 193, endpoint=True))
    return x, float(rng.integers(40, 111, endpoint=True))


def _draw_asteroid(rng: np.random.Generator) -> Asteroid:
    side = int(rng.integers(4))
    along = float(rng.integers(20, 203, endpoint=True))
    x, y = ((along, -28.0), (along, 252.0), (-28.0, along), (252.0, along))[side]
    aim_x, aim_y = float(rng.uniform(56.0, 168.0)), float(rng.uniform(56.0, 168.0))
    speed = float(rng.uniform(1.0, 2.2))
    distance = math.hypot(aim_x - x, aim_y - y)
    vertices: list[tuple[float, float]] = []
    for index in range(8):
        angle = index * math.pi / 4
        wide = ASTEROID_RADIUS_PX + int(rng.integers(-3, 3, endpoint=True))
        high = ASTEROID_RADIUS_PX + int(rng.integers(-3, 3, endpoint=True))
        vertices.append((wide * math.cos(angle), high * math.sin(angle)))
    return Asteroid(
        place=(x, y),
        velocity=(speed * (aim_x - x) / distance, speed * (aim_y - y) / distance),
        angle=0.0,
        spin=float(rng.uniform(-0.02, 0.02)),
        has_entered=False,
        shape=tuple(vertices),
    )


def _paint_background(canvas: pygame.Surface, stars: tuple[tuple[int, int, int], ...]) -> None:
    shades = (int(20 + 40 * row / CANVAS_PX) for row in range(CANVAS_PX))
    colors = ((shade // 2, 0, shade) for shade in shades)
    fill_rows(canvas, colors, x=0, y=0, width=CANVAS_PX)
    for x, y, radius in stars:
        pygame.draw.circle(canvas, (255, 255, 255), (x, y), radius)
