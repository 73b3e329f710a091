"""CoinRun: run through a meadow and jump for rows of coins."""

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
    to_frame,
)
from reverie.envs.domains.miniarcade.effects import fill_gradient, mixed
from reverie.envs.domains.miniarcade.runner import (
    GROUND_PX,
    NUM_PEBBLES,
    RUNNER_LEFT_PX,
    SCROLL_PX,
    STANDING_PX,
    Segment,
    draw_limbs,
    is_standing,
    jump,
    next_pose,
    runner_box,
)

COIN_RADIUS_PX, COIN_SPACING_PX, COIN_RISE_PX = 9, 27, 18
LOWEST_COIN_PX, HIGHEST_COIN_PX = 173, 83
MAX_COINS = 5

_EARTH = (51, 92, 53)
_PETALS = ((255, 182, 193), (255, 204, 229), (255, 255, 153), (221, 160, 221))
_BLADES = (((34, 110, 38), (60, 150, 64)), ((40, 120, 42), (70, 160, 72)))
_TUFT = ((46, 102, 50), (66, 132, 70))
_LEGS: tuple[tuple[Segment, ...], ...] = (
    (((8, 25), (4, 35)), ((10, 25), (14, 35))),
    (((8, 25), (2, 35)), ((10, 25), (16, 35))),
)
_HANDS = (((0, 16), (18, 16)), ((1, 17), (21, 17)))
_AIRBORNE_HANDS = (((4, 14), (14, 14)), ((5, 15), (17, 15)))


@dataclass(slots=True)
class Coin:
    """One coin of the row."""

    x: float
    y: float
    is_taken: bool = False


@dataclass(slots=True)
class Cloud:
    """One drifting cloud."""

    x: float
    y: float
    size: float
    speed: float


@dataclass(slots=True)
class Grass:
    """One tuft of grass."""

    x: float
    base_y: float
    height: float
    spread: float
    is_front: bool


@dataclass(slots=True)
class Flower:
    """One flower; its petals keep their colour for the episode."""

    x: float
    head_y: float
    petals: Color
    size: float
    is_front: bool


@dataclass(slots=True)
class Sparkle:
    """One spark of a collected coin."""

    x: float
    y: float
    velocity_x: float
    velocity_y: float
    life: int
    max_life: int
    size: float
    color: Color


@dataclass(kw_only=True, slots=True)
class CoinrunState:
    """Everything that changes. Pixels and pixels per step; y points down."""

    steps: int
    y: float
    """Top edge of the runner."""
    velocity_y: float
    is_on_ground: bool
    pose: int
    pose_timer: int
    coins: list[Coin]
    pebbles: list[tuple[float, float]]
    clouds: list[Cloud]
    grass: list[Grass]
    flowers: list[Flower]
    sparkles: list[Sparkle]


class Coinrun:
    """The game. Each coin pays 1; nothing can go wrong."""

    def __init__(self) -> None:
        """Start some episode."""
        self._background = StaticLayer(_paint_background)
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the coins and the meadow."""
        pebbles = [
            (CANVAS_PX * float(rng.uniform(-0.1, 1.0)), _pebble_y(rng)) for _ in range(NUM_PEBBLES)
        ]
        clouds = [_draw_cloud(rng, *((0.0, 224.0) if k < 4 else (-67.2, 291.2))) for k in range(7)]
        grass = [_draw_grass(rng, *((0.0, 224.0) if k < 5 else (-22.4, 291.2))) for k in range(8)]
        flowers: list[Flower] = []
        for index in range(4):
            low, high = (0.0, 224.0) if index < 2 else (-22.4, 268.8)
            petals = _PETALS[int(rng.integers(len(_PETALS)))]
            flowers.append(_draw_flower(rng, low, high, petals))
        self.state = CoinrunState(
            steps=0,
            y=float(STANDING_PX),
            velocity_y=0.0,
            is_on_ground=True,
            pose=0,
            pose_timer=0,
            coins=_draw_coins(rng),
            pebbles=pebbles,
            clouds=clouds,
            grass=grass,
            flowers=flowers,
            sparkles=[],
        )

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Jump and fall, scroll, take coins."""
        state = self.state
        state.y, state.velocity_y, state.is_on_ground = jump(
            state.y, state.velocity_y, float(action[0])
        )
        if state.is_on_ground:
            state.pose_timer, state.pose = next_pose(state.pose_timer, state.pose)
        self._scroll(rng)
        if all(coin.is_taken or coin.x < -COIN_RADIUS_PX for coin in state.coins):
            state.coins = _draw_coins(rng)
        reward = self._take_coins(rng)
        for sparkle in state.sparkles:
            sparkle.x += sparkle.velocity_x
            sparkle.y += sparkle.velocity_y
            sparkle.velocity_y += 0.05
            sparkle.life -= 1
        state.sparkles = [sparkle for sparkle in state.sparkles if sparkle.life > 0]
        if is_standing(state.y):
            state.pose_timer, state.pose = next_pose(state.pose_timer, state.pose)
        state.steps += 1
        return reward

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return height, its speed and the coins that are left."""
        state = self.state
        values = [(state.y - STANDING_PX) / CANVAS_PX, state.velocity_y / 10]
        for coin in state.coins:
            place = (coin.x / CANVAS_PX, coin.y / CANVAS_PX)
            values += (-1.0, -1.0) if coin.is_taken else place
        values += [-1.0, -1.0] * (MAX_COINS - len(state.coins))
        return np.array(values, dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return the coins as a part of 50."""
        return min(max(total_reward / 50, 0.0), 1.0)

    def is_success(self) -> bool:
        """Return False: the benchmark defines no success here."""
        return False

    def is_over(self) -> bool:
        """Return False: the run ends by its time limit only."""
        return False

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw meadow, runner and coins; blades of grass are fresh draws."""
        state = self.state
        canvas = new_canvas()
        self._background.show(canvas, None)
        for cloud in state.clouds:
            _draw_cloud_shape(canvas, cloud)
        self._draw_plants(canvas, rng, is_front=False)
        for x, y in state.pebbles:
            pygame.draw.circle(canvas, _EARTH, (int(x), int(y)), 1)
        self._draw_runner(canvas)
        self._draw_plants(canvas, rng, is_front=True)
        for index, coin in enumerate(state.coins):
            if not coin.is_taken:
                _draw_coin(canvas, coin, state.steps + 7 * index)
        for sparkle in state.sparkles:
            left = sparkle.life / sparkle.max_life
            radius = int(max(1.0, sparkle.size * (0.6 + 0.8 * left)))
            color = mixed((0, 0, 0), sparkle.color, 0.6 + 0.4 * left)
            pygame.draw.circle(canvas, color, (int(sparkle.x), int(sparkle.y)), radius)
        return to_frame(canvas)

    def _scroll(self, rng: np.random.Generator) -> None:
        state = self.state
        for coin in state.coins:
            coin.x -= SCROLL_PX
        for index, (x, y) in enumerate(state.pebbles):
            is_gone = x - SCROLL_PX < -5
            fresh = (CANVAS_PX + float(rng.uniform(0.0, 20.0)), _pebble_y(rng)) if is_gone else None
            state.pebbles[index] = fresh or (x - SCROLL_PX, y)
        for index, tuft in enumerate(state.grass):
            tuft.x -= SCROLL_PX
            if tuft.x < -6:
                state.grass[index] = _draw_grass(rng, 224.0, 264.0)
        for index, flower in enumerate(state.flowers):
            flower.x -= SCROLL_PX
            if flower.x < -6:
                fresh_flower = _draw_flower(rng, 224.0, 284.0, flower.petals)
                state.flowers[index] = fresh_flower
        for index, cloud in enumerate(state.clouds):
            cloud.x -= cloud.speed
            if cloud.x < -3 * cloud.size:
                state.clouds[index] = _draw_cloud(rng, 224.0, 284.0)

    def _take_coins(self, rng: np.random.Generator) -> float:
        state, reward = self.state, 0.0
        box = runner_box(state.y)
        for coin in state.coins:
            corner = (int(coin.x - COIN_RADIUS_PX), int(coin.y - COIN_RADIUS_PX))
            side = 2 * COIN_RADIUS_PX
            if not coin.is_taken and box.colliderect((*corner, side, side)):
                coin.is_taken = True
                reward += 1.0
                state.sparkles += [_draw_sparkle(rng, coin, index) for index in range(8)]
        return reward

    def _draw_plants(
        self, canvas: pygame.Surface, rng: np.random.Generator, *, is_front: bool
    ) -> None:
        for tuft in self.state.grass:
            if tuft.is_front == is_front:
                _draw_tuft(canvas, tuft, rng)
        for flower in self.state.flowers:
            if flower.is_front == is_front:
                _draw_flower_shape(canvas, flower)

    def _draw_runner(self, canvas: pygame.Surface) -> None:
        state = self.state
        x, y = RUNNER_LEFT_PX, int(state.y)
        pygame.draw.rect(canvas, (220, 20, 60), (x + 2, y - 1, 14, 18), border_radius=7)
        pygame.draw.circle(canvas, (222, 184, 135), (x + 9, y + 5), 5)
        left, right = (_HANDS if state.is_on_ground else _AIRBORNE_HANDS)[state.pose]
        arms: tuple[Segment, ...] = (((6, 12), left), ((12, 12), right))
        draw_limbs(canvas, y, arms + _LEGS[state.pose])
        upper = [(x + 6, y + 10), (x + 12, y + 10), (x + 9, y + 25)]
        fill_polygon(canvas, (139, 69, 19), upper)
        lower = [(x + 3, y + 30), (x + 15, y + 30), (x + 9, y + 18)]
        fill_polygon(canvas, (139, 69, 19), lower)


def make_game(variant: str) -> Coinrun:
    """Make the game; it has no variants."""
    if variant:
        raise ValueError(f"CoinRun has no variants, got '{variant}'.")
    return Coinrun()


def _draw_coins(rng: np.random.Generator) -> list[Coin]:
    count = int(rng.integers(2, MAX_COINS, endpoint=True))
    x = CANVAS_PX + int(rng.integers(20, 59, endpoint=True))
    y = LOWEST_COIN_PX - COIN_RISE_PX * int(rng.integers(1, 4, endpoint=True))
    coins = [Coin(float(x), float(y))]
    for index in range(1, count):
        if rng.random() < 0.6:
            y += COIN_RISE_PX if rng.random() < 0.5 else -COIN_RISE_PX
            y = min(max(y, HIGHEST_COIN_PX), LOWEST_COIN_PX)
        coins.append(Coin(float(x + COIN_SPACING_PX * index), float(y)))
    return coins


def _pebble_y(rng: np.random.Generator) -> float:
    return GROUND_PX + float(rng.uniform(1.0, 4.0))


def _draw_cloud(rng: np.random.Generator, low: float, high: float) -> Cloud:
    return Cloud(
        x=float(rng.uniform(low, high)),
        y=float(rng.uniform(15.0, 82.8)),
        size=float(rng.uniform(16.0, 26.0)),
        speed=SCROLL_PX * float(rng.uniform(0.18, 0.42)),
    )


def _draw_grass(rng: np.random.Generator, low: float, high: float) -> Grass:
    return Grass(
        x=float(rng.uniform(low, high)),
        base_y=GROUND_PX + float(rng.uniform(-2.0, 3.0)),
        height=float(rng.uniform(5.0, 10.0)),
        spread=float(rng.uniform(2.0, 4.0)),
        is_front=bool(rng.random() < 0.35),
    )


def _draw_flower(rng: np.random.Generator, low: float, high: float, petals: Color) -> Flower:
    return Flower(
        x=float(rng.uniform(low, high)),
        head_y=GROUND_PX - float(rng.uniform(1.0, 6.0)) + float(rng.uniform(-2.0, 2.0)),
        petals=petals,
        size=float(rng.uniform(2.0, 3.2)),
        is_front=bool(rng.random() < 0.3),
    )


def _draw_sparkle(rng: np.random.Generator, coin: Coin, index: int) -> Sparkle:
    angle = 2 * math.pi * index / 8 + float(rng.uniform(-0.25, 0.25))
    speed = float(rng.uniform(1.0, 2.4))
    life = int(rng.integers(10, 15, endpoint=True))
    return Sparkle(
        x=coin.x,
        y=coin.y,
        velocity_x=speed * math.cos(angle),
        velocity_y=speed * math.sin(angle) - float(rng.uniform(0.0, 0.3)),
        life=life,
        max_life=life,
        size=float(rng.uniform(1.0, 2.0)),
        color=(255, 230, 120) if index % 2 == 0 else (255, 255, 255),
    )


def _paint_background(canvas: pygame.Surface, key: None) -> None:
    sky, meadow = ((173, 216, 230), (255, 182, 193)), ((76, 130, 78), (112, 170, 112))
    fill_gradient(canvas, sky, rows=(0, GROUND_PX), span=GROUND_PX)
    fill_gradient(canvas, meadow, rows=(GROUND_PX, CANVAS_PX), span=CANVAS_PX - GROUND_PX - 1)
    pygame.draw.line(canvas, _EARTH, (0, GROUND_PX), (CANVAS_PX, GROUND_PX), 2)


def _draw_cloud_shape(canvas: pygame.Surface, cloud: Cloud) -> None:
    x, y, size = cloud.x, cloud.y, cloud.size
    for box in (
        (x, y, 2 * size, size),
        (x - 0.6 * size, y + 0.15 * size, 1.6 * size, 0.9 * size),
        (x + 0.9 * size, y + 0.1 * size, 1.6 * size, 0.9 * size),
    ):
        pygame.draw.ellipse(canvas, (255, 204, 214), [int(value) for value in box])


def _draw_tuft(canvas: pygame.Surface, tuft: Grass, rng: np.random.Generator) -> None:
    depth = min(max((tuft.base_y - 178) / 12, 0.0), 1.0)
    x, y = tuft.x, int(tuft.base_y)
    ends = ((int(x - tuft.spread), y), (int(x + tuft.spread), y))
    pygame.draw.line(canvas, mixed(*_TUFT, depth), *ends, 2)
    middle = (2 + int(rng.integers(3))) / 2
    for index in range(int(2 * middle) + 1):
        side = (index - middle) / middle
        tip_y = tuft.base_y - tuft.height * float(rng.uniform(0.85, 1.1))
        foot = (int(x + 0.4 * side * tuft.spread), y)
        tip = (int(x + 1.2 * side * tuft.spread), int(tip_y))
        pygame.draw.line(canvas, mixed(*_BLADES[index % 2], depth), foot, tip, 2)


def _draw_flower_shape(canvas: pygame.Surface, flower: Flower) -> None:
    x, y, size = flower.x, flower.head_y, flower.size
    stem = (60, 120, 60)
    pygame.draw.line(canvas, stem, (int(x), int(y + 1.2 * size)), (int(x), GROUND_PX), 2)
    for side, high, low in ((-1, 0.8, 0.9), (1, 0.6, 0.7)):
        tip = (int(x + side * size), int(y + low * size))
        pygame.draw.line(canvas, stem, (int(x), int(y + high * size)), tip)
    for index in range(5):
        angle = math.radians(72 * index)
        petal = (int(x + 1.6 * size * math.cos(angle)), int(y + 1.6 * size * math.sin(angle)))
        pygame.draw.circle(canvas, flower.petals, petal, int(max(1.0, size)))
    radius = int(max(1.0, 0.9 * size))
    pygame.draw.circle(canvas, (255, 230, 120), (int(x), int(y)), radius)


def _draw_coin(canvas: pygame.Surface, coin: Coin, phase: int) -> None:
    centre = (int(coin.x), int(coin.y))
    pygame.draw.circle(canvas, (255, 215, 0), centre, COIN_RADIUS_PX)
    glow = 0.5 + 0.125 * math.sin(2 * math.pi * phase / 30)
    rim = mixed((200, 160, 0), (255, 220, 60), glow)
    pygame.draw.circle(canvas, rim, centre, COIN_RADIUS_PX, 2)
    angle = phase * 2 * math.pi / 45
    x, y = int(coin.x + 8 * math.cos(angle)), int(coin.y + 8 * math.sin(angle))
    pygame.draw.line(canvas, (245, 245, 235), (x - 1, y), (x + 1, y))
    pygame.draw.line(canvas, (245, 245, 235), (x, y - 1), (x, y + 1))
    box = (int(coin.x - 11), int(coin.y - 11), 22, 22)
    pygame.draw.arc(canvas, (250, 245, 200), box, math.radians(300), math.radians(380), 1)
