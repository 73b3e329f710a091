"""Mine-cart pole: balance or swing up a pole on a cart in a mine, in five variants."""

import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pygame
from jaxtyping import Float32, UInt8

from reverie.envs.domains.miniarcade.canvas import (
    CANVAS_PX,
    Color,
    StaticLayer,
    fill_polygon,
    fill_rows,
    new_canvas,
    new_layer,
    to_frame,
)

GRAVITY = 9.81
CART_MASS_KG = 0.9
POLE_MASS_KG = 0.11
TOTAL_MASS_KG = CART_MASS_KG + POLE_MASS_KG
HALF_LENGTH_M = 0.6
POLE_MOMENT = POLE_MASS_KG * HALF_LENGTH_M
TIME_STEP_S = 0.025
FORCE_N = 11.0
TRACK_LIMIT_M = 2.4
"""Beyond it nothing is paid; the cart is not stopped."""
UPRIGHT_RAD = 0.15
"""What the sparse variants call upright."""
PX_PER_M = 32.5
START_SPREAD = 0.065
SHAKE_ACCELERATION = 5.0
"""Largest angular disturbance of the tremor, rad/s²."""

_FLOOR_TOP_PX, _RAIL_PX, _CART_TOP_PX, _CEILING_PX = 192, 161, 147, 45
_POLE_PX = 39
_LANTERNS = ((50, 59), (154, 59))
_LIGHT_RADIUS_PX = 55
_EARTH = (100, 75, 45)
_COLOR_KEY = (255, 0, 255)


@dataclass(frozen=True, slots=True)
class Rock:
    """One rock on the floor: a circle (``is_circle``) or an ellipse in its rectangle."""

    is_circle: bool
    shape: tuple[int, ...]
    """Circle: centre x, centre y, radius. Ellipse: left, top, width, height."""
    color: Color


@dataclass(frozen=True, slots=True)
class Decor:
    """What the mine looks like in this episode."""

    ceiling: tuple[tuple[int, int], ...]
    rocks: tuple[Rock, ...]


@dataclass(slots=True)
class Dust:
    """One falling grain, shaken loose by a tremor."""

    x: int
    y: float
    velocity_y: float
    life: int
    radius: int


@dataclass(kw_only=True, slots=True)
class CartpoleState:
    """Everything that changes, the decor of the episode included. Metres, radians, seconds."""

    steps: int
    x: float
    velocity: float
    angle: float
    """0 is upright; never wrapped, so a full turn away is not upright."""
    angular_velocity: float
    decor: Decor
    lantern_phases: tuple[float, float]
    countdown: int = 0
    shake_steps: int = 0
    shake_acceleration: float = 0.0
    dust: list[Dust] = field(default_factory=list)


class Cartpole:
    """The game in one of its variants."""

    def __init__(self, *, starts_down: bool, is_sparse: bool, has_tremor: bool) -> None:
        """Choose the variant."""
        self._starts_down = starts_down
        self._is_sparse = is_sparse
        self._has_tremor = has_tremor
        self._background = StaticLayer(_paint_background)
        self._ceiling = StaticLayer(_paint_ceiling, color_key=_COLOR_KEY)
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the start, near upright or near hanging, and the decor."""
        start = [float(value) for value in rng.uniform(-START_SPREAD, START_SPREAD, 4)]
        if self._starts_down:
            start[2] += math.pi
            start = [float(np.float32(value)) for value in start]
        self.state = CartpoleState(
            steps=0,
            x=start[0],
            velocity=start[1],
            angle=start[2],
            angular_velocity=start[3],
            decor=_draw_decor(rng),
            lantern_phases=(_draw_phase(rng), _draw_phase(rng)),
            countdown=int(rng.integers(40, 80, endpoint=True)) if self._has_tremor else 0,
        )

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Integrate one explicit Euler step; every right-hand side uses the old state."""
        state = self.state
        disturbance = self._advance_tremor(rng) if self._has_tremor else 0.0
        force = FORCE_N * float(action[0])
        sine, cosine = math.sin(state.angle), math.cos(state.angle)
        push = (force + POLE_MOMENT * state.angular_velocity**2 * sine) / TOTAL_MASS_KG
        inertia = HALF_LENGTH_M * (4.0 / 3.0 - POLE_MASS_KG * cosine**2 / TOTAL_MASS_KG)
        angular = (GRAVITY * sine - cosine * push) / inertia + disturbance
        linear = push - POLE_MOMENT * angular * cosine / TOTAL_MASS_KG
        state.x += TIME_STEP_S * state.velocity
        state.velocity += TIME_STEP_S * linear
        state.angle += TIME_STEP_S * state.angular_velocity
        state.angular_velocity += TIME_STEP_S * angular
        state.steps += 1
        return self._reward()

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return x, its speed, the angle and its speed."""
        state = self.state
        values = (state.x, state.velocity, state.angle, state.angular_velocity)
        return np.array(values, dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return the part of the largest possible return."""
        return min(max(total_reward / 500, 0.0), 1.0)

    def is_success(self) -> bool:
        """Return False: the benchmark defines no success here."""
        return False

    def is_over(self) -> bool:
        """Return False: the episode ends by its time limit only."""
        return False

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the mine; the lanterns flicker by fresh draws."""
        state = self.state
        canvas = new_canvas()
        self._background.show(canvas, state.decor)
        for (left, top), phase in zip(_LANTERNS, state.lantern_phases, strict=True):
            wave = 0.35 * math.sin(2 * math.pi * state.steps / 60 + phase)
            factor = min(max(0.9 + wave + float(rng.normal(0.0, 0.08)), 0.4), 1.3)
            canvas.blit(_light(int(90 * factor)), (left - 49, top - 47))
        self._ceiling.show(canvas, state.decor)
        self._draw_cart(canvas)
        for grain in state.dust:
            pygame.draw.circle(canvas, (150, 120, 90), (grain.x, int(grain.y)), grain.radius)
        if state.shake_steps > 0:
            canvas = self._shaken(canvas, rng)
        return to_frame(canvas)

    def _reward(self) -> float:
        state = self.state
        if abs(state.x) > TRACK_LIMIT_M:
            return 0.0
        if self._is_sparse:
            return float(abs(state.angle) < UPRIGHT_RAD)
        return 1.0 - min(abs(state.angle), math.pi / 2) / (math.pi / 2)

    def _advance_tremor(self, rng: np.random.Generator) -> float:
        state = self.state
        disturbance = 0.0
        if state.shake_steps > 0:
            state.shake_steps -= 1
            disturbance = state.shake_acceleration
            if rng.random() < 0.3:
                state.dust.append(_draw_dust(rng))
        else:
            state.countdown -= 1
            if state.countdown <= 0:
                state.shake_steps = int(rng.integers(5, 10, endpoint=True))
                strength = SHAKE_ACCELERATION * float(rng.uniform(0.35, 1.0))
                state.shake_acceleration = float(rng.choice((-1.0, 1.0))) * strength
                state.countdown = int(rng.integers(50, 90, endpoint=True))
        for grain in state.dust:
            grain.y += grain.velocity_y
            grain.life -= 1
        state.dust = [grain for grain in state.dust if grain.life > 0 and grain.y < 214]
        return disturbance

    def _draw_cart(self, canvas: pygame.Surface) -> None:
        state = self.state
        x = round(CANVAS_PX / 2 + PX_PER_M * state.x)
        body = (x - 14, _CART_TOP_PX, 28, 14)
        pygame.draw.rect(canvas, (180, 110, 60), body)
        pygame.draw.rect(canvas, (190, 185, 185), body, 2)
        for wheel in (x - 10, x + 9):
            pygame.draw.circle(canvas, (200, 195, 195), (wheel, _RAIL_PX), 5)
        tip_x = x + round(_POLE_PX * math.sin(state.angle))
        tip_y = _CART_TOP_PX - round(_POLE_PX * math.cos(state.angle))
        pygame.draw.line(canvas, (200, 140, 80), (x, _CART_TOP_PX), (tip_x, tip_y), 4)

    def _shaken(self, canvas: pygame.Surface, rng: np.random.Generator) -> pygame.Surface:
        reach = min(5, int(abs(self.state.shake_acceleration) / FORCE_N * 5))
        right = int(rng.integers(-reach, reach, endpoint=True))
        down = int(rng.integers(-reach, reach, endpoint=True))
        moved = new_canvas()
        moved.fill(_EARTH)
        moved.blit(canvas, (right, down))
        return moved


def make_game(variant: str) -> Cartpole:
    """Make ``balance``, ``swingup``, one of them with ``-sparse``, or ``tremor``."""
    return Cartpole(
        starts_down=variant.startswith("swingup"),
        is_sparse=variant.endswith("sparse"),
        has_tremor=variant == "tremor",
    )


def _draw_phase(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.0, 2 * math.pi))


def _draw_decor(rng: np.random.Generator) -> Decor:
    profile = [
        (int(CANVAS_PX * index / 11), _CEILING_PX + int(rng.integers(0, 11, endpoint=True)))
        for index in range(12)
    ]
    ends = ((0, _CEILING_PX), (CANVAS_PX, _CEILING_PX))
    num_rocks = int(rng.integers(5, 7, endpoint=True))
    rocks = tuple(_draw_rock(rng) for _ in range(num_rocks))
    return Decor((ends[0], *profile, ends[1]), rocks)


def _draw_rock(rng: np.random.Generator) -> Rock:
    x = int(rng.integers(10, 213, endpoint=True))
    y = CANVAS_PX - int(rng.integers(26, 33, endpoint=True))
    size = int(rng.integers(4, 7, endpoint=True))
    shade = int(rng.integers(70, 109, endpoint=True))
    color = (shade, shade - 25, shade - 35)
    if rng.random() < 0.5:
        return Rock(True, (x, y, size), color)
    half_width = int(size * rng.uniform(1.2, 1.6))
    half_height = int(size * rng.uniform(0.8, 1.2))
    return Rock(False, (x - half_width, y - half_height, 2 * half_width, 2 * half_height), color)


def _draw_dust(rng: np.random.Generator) -> Dust:
    return Dust(
        x=int(rng.integers(20, 203, endpoint=True)),
        y=50.0,
        velocity_y=float(rng.uniform(1.5, 4.0)),
        life=int(rng.integers(18, 39, endpoint=True)),
        radius=int(rng.integers(2, 3, endpoint=True)),
    )


def _paint_background(canvas: pygame.Surface, decor: Decor) -> None:
    # The light of the lanterns ends above the floor, so all below may be painted before it.
    heights = (row / CANVAS_PX for row in range(CANVAS_PX))
    colors = ((int(120 - 30 * t), int(90 - 30 * t), int(50 - 15 * t)) for t in heights)
    fill_rows(canvas, colors, x=0, y=0, width=CANVAS_PX)
    for left, top in _LANTERNS:
        pygame.draw.rect(canvas, (230, 190, 90), (left, top, 12, 16))
        pygame.draw.rect(canvas, (120, 100, 60), (left, top, 12, 16), 2)
        pygame.draw.rect(canvas, (160, 160, 160), (left + 4, top - 14, 4, 14))
    pygame.draw.rect(canvas, _EARTH, (0, _FLOOR_TOP_PX, CANVAS_PX, CANVAS_PX - _FLOOR_TOP_PX))
    for rock in decor.rocks:
        if rock.is_circle:
            x, y, radius = rock.shape
            pygame.draw.circle(canvas, rock.color, (x, y), radius)
        else:
            pygame.draw.ellipse(canvas, rock.color, rock.shape)
    pygame.draw.line(canvas, (125, 120, 120), (0, _RAIL_PX), (CANVAS_PX, _RAIL_PX), 6)


def _paint_ceiling(canvas: pygame.Surface, decor: Decor) -> None:
    fill_polygon(canvas, (85, 65, 45), [(0, 0), *decor.ceiling, (CANVAS_PX, 0)])


@cache
def _light(brightness: int) -> pygame.Surface:
    layer = new_layer(2 * _LIGHT_RADIUS_PX, 2 * _LIGHT_RADIUS_PX)
    centre = (_LIGHT_RADIUS_PX, _LIGHT_RADIUS_PX)
    for radius in range(_LIGHT_RADIUS_PX, 0, -3):
        alpha = int(brightness * (1 - radius / _LIGHT_RADIUS_PX) ** 2)
        if alpha:
            pygame.draw.circle(layer, (255, 210, 120, alpha), centre, radius)
    return layer
