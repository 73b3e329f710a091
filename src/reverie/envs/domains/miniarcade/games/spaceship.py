"""Spaceship: fly through rows of coins and past asteroids."""

import math
from dataclasses import dataclass

import numpy as np
import pygame
from jaxtyping import Float32, UInt8

from reverie.envs.domains.miniarcade.canvas import (
    CANVAS_PX,
    fill_polygon,
    new_canvas,
    to_frame,
)
from reverie.envs.domains.miniarcade.effects import outline_polygon, tint

SCROLL_PX, STAR_SCROLL_PX = 12, 6
THRUST, DAMPING = 0.65, 0.95
SHIP_WIDTH_PX, SHIP_HEIGHT_PX = 28, 18
COIN_RADIUS_PX, ASTEROID_RADIUS_PX = 9, 18
NUM_STARS, MAX_COINS = 50, 4
SPIN_RAD = 0.02
_FLAMES = ((1.0, (255, 255, 120)), (0.7, (255, 200, 60)), (0.5, (255, 140, 0)))


@dataclass(slots=True)
class Coin:
    """One coin of the row."""

    x: float
    y: float
    is_taken: bool = False

    def box(self) -> pygame.Rect:
        """Return the box that the ship has to touch."""
        return _box_about(self.x, self.y, COIN_RADIUS_PX)


@dataclass(slots=True)
class Asteroid:
    """The asteroid; there is at most one."""

    x: float
    y: float
    angle: float
    shape: tuple[tuple[float, float], ...]
    """Vertices about its centre at angle 0."""


@dataclass(kw_only=True, slots=True)
class SpaceshipState:
    """Everything that changes. Pixels and pixels per step; y points down."""

    steps: int
    ship: tuple[float, float, float, float]
    """Top left corner and velocity."""
    coins: list[Coin]
    asteroid: Asteroid | None
    is_collided: bool
    stars: list[tuple[float, float]]


class Spaceship:
    """The game. A coin pays 1, each step in an asteroid costs 2."""

    def __init__(self) -> None:
        """Start some episode."""
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the coins, perhaps an asteroid, and the stars."""
        # Differs from the release: there an asteroid outlives a reset. Here an episode depends on
        # its seed alone.
        coins = _draw_coins(rng)
        self.state = SpaceshipState(
            steps=0,
            ship=(40.0, 112.0, 0.0, 0.0),
            coins=coins,
            asteroid=_draw_asteroid(rng, coins),
            is_collided=False,
            stars=[
                (float(rng.uniform(0.0, CANVAS_PX)), float(rng.uniform(0.0, CANVAS_PX)))
                for _ in range(NUM_STARS)
            ],
        )

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Fly, meet the asteroid, scroll, take coins."""
        state = self.state
        self._fly(float(action[0]), float(action[1]))
        ship, reward = self._box(), 0.0
        state.is_collided = False
        if state.asteroid is not None:
            asteroid = state.asteroid
            asteroid.x -= SCROLL_PX
            asteroid.angle += SPIN_RAD
            rock = _box_about(asteroid.x, asteroid.y, ASTEROID_RADIUS_PX)
            state.is_collided = bool(ship.colliderect(rock))
            reward -= 2.0 * state.is_collided
            if asteroid.x < -ASTEROID_RADIUS_PX:
                state.asteroid = None
        for coin in state.coins:
            coin.x -= SCROLL_PX
        for index, (x, y) in enumerate(state.stars):
            is_gone = x - STAR_SCROLL_PX < 0
            fresh = (float(CANVAS_PX), float(rng.uniform(0.0, CANVAS_PX))) if is_gone else None
            state.stars[index] = fresh or (x - STAR_SCROLL_PX, y)
        if all(coin.is_taken or coin.x < -COIN_RADIUS_PX for coin in state.coins):
            state.coins = _draw_coins(rng)
            if state.asteroid is None:
                state.asteroid = _draw_asteroid(rng, state.coins)
        for coin in state.coins:
            if not coin.is_taken and ship.colliderect(coin.box()):
                coin.is_taken = True
                reward += 1.0
        state.steps += 1
        return reward

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return ship, coins that are left, and asteroid."""
        state = self.state
        x, y, velocity_x, velocity_y = state.ship
        values = [x / CANVAS_PX, y / CANVAS_PX, velocity_x / 10, velocity_y / 10]
        for coin in state.coins:
            place = (coin.x / CANVAS_PX, coin.y / CANVAS_PX)
            values += (-1.0, -1.0) if coin.is_taken else place
        values += [-1.0, -1.0] * (MAX_COINS - len(state.coins))
        rock = state.asteroid
        values += (-1.0, -1.0) if rock is None else (rock.x / CANVAS_PX, rock.y / CANVAS_PX)
        return np.array(values, dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return the return as a part of 60."""
        return min(max(total_reward / 60, 0.0), 1.0)

    def is_success(self) -> bool:
        """Return False: the benchmark defines no success here."""
        return False

    def is_over(self) -> bool:
        """Return False: the flight ends by its time limit only."""
        return False

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw space; the ship's flame is a fresh draw."""
        state = self.state
        canvas = new_canvas()
        for x, y in state.stars:
            pygame.draw.circle(canvas, (255, 255, 255), (int(x), int(y)), 1)
        self._draw_ship(canvas, rng)
        for coin in state.coins:
            if not coin.is_taken:
                centre = (int(coin.x), int(coin.y))
                pygame.draw.circle(canvas, (255, 215, 0), centre, COIN_RADIUS_PX)
                pygame.draw.circle(canvas, (200, 160, 0), centre, COIN_RADIUS_PX, 2)
        if state.asteroid is not None:
            rock = _turned(state.asteroid)
            fill_polygon(canvas, (100, 100, 100), rock)
            outline_polygon(canvas, (60, 60, 60), rock, 2)
        if state.is_collided:
            tint(canvas, (220, 60, 60, 40))
        return to_frame(canvas)

    def _fly(self, right: float, down: float) -> None:
        x, y, velocity_x, velocity_y = self.state.ship
        velocity_x, velocity_y = velocity_x + THRUST * right, velocity_y + THRUST * down
        x = min(max(x + velocity_x, 0.0), float(CANVAS_PX - SHIP_WIDTH_PX))
        y = min(max(y + velocity_y, 0.0), float(CANVAS_PX - SHIP_HEIGHT_PX))
        self.state.ship = (x, y, velocity_x * DAMPING, velocity_y * DAMPING)

    def _box(self) -> pygame.Rect:
        x, y, _, _ = self.state.ship
        return pygame.Rect(int(x), int(y), SHIP_WIDTH_PX, SHIP_HEIGHT_PX)

    def _draw_ship(self, canvas: pygame.Surface, rng: np.random.Generator) -> None:
        x, y = int(self.state.ship[0]), int(self.state.ship[1])
        speed = math.hypot(*self.state.ship[2:])
        fill_polygon(canvas, (180, 180, 255), [(x, y), (x, y + 18), (x + 28, y + 9)])
        pygame.draw.line(canvas, (100, 100, 200), (x + 4, y - 2), (x + 4, y + 20), 2)
        if speed <= 0.1:
            return
        length = min(28.0, 14 + 4 * speed) * (1 + float(rng.uniform(-0.1, 0.1)))
        half = (4 + 0.3 * speed) * (1 + float(rng.uniform(-0.1, 0.1)))
        for size, color in _FLAMES:
            wide = int(half * size)
            flame = [(x - length * size, y + 9), (x, y + 9 - wide), (x, y + 9 + wide)]
            fill_polygon(canvas, color, flame)


def make_game(variant: str) -> Spaceship:
    """Make the game; it has no variants."""
    if variant:
        raise ValueError(f"Spaceship has no variants, got '{variant}'.")
    return Spaceship()


def _box_about(x: float, y: float, radius: int) -> pygame.Rect:
    return pygame.Rect(int(x - radius), int(y - radius), 2 * radius, 2 * radius)


def _draw_coins(rng: np.random.Generator) -> list[Coin]:
    count = int(rng.integers(2, MAX_COINS, endpoint=True))
    x = CANVAS_PX + int(rng.integers(20, 59, endpoint=True))
    y = int(rng.integers(30, 193, endpoint=True))
    coins = [Coin(float(x), float(y))]
    for index in range(1, count):
        if rng.random() < 0.6:
            y += 18 if rng.random() < 0.5 else -18
            y = min(max(y, 20), 204)
        coins.append(Coin(float(x + 27 * index), float(y)))
    return coins


def _draw_asteroid(rng: np.random.Generator, coins: list[Coin]) -> Asteroid | None:
    if rng.random() >= 0.5:
        return None
    for _ in range(5):
        x = coins[0].x + (len(coins) + 2) * 27 + float(rng.uniform(-30.0, 30.0))
        y = float(rng.integers(40, 183, endpoint=True))
        rock = _box_about(x, y, ASTEROID_RADIUS_PX)
        if not any(rock.colliderect(coin.box()) for coin in coins):
            return Asteroid(x, y, 0.0, tuple(_draw_vertex(rng, index) for index in range(10)))
    return None


def _draw_vertex(rng: np.random.Generator, index: int) -> tuple[float, float]:
    angle = math.radians(36 * index)
    radius = ASTEROID_RADIUS_PX * (0.7 + 0.6 * float(rng.random()))
    return radius * math.cos(angle), radius * math.sin(angle)


def _turned(asteroid: Asteroid) -> list[tuple[float, float]]:
    sine, cosine = math.sin(asteroid.angle), math.cos(asteroid.angle)
    return [
        (asteroid.x + x * cosine - y * sine, asteroid.y + x * sine + y * cosine)
        for x, y in asteroid.shape
    ]
