"""Cowboy: run through a desert and jump over groups of cacti."""

from dataclasses import dataclass

import numpy as np
import pygame
from jaxtyping import Float32, UInt8

from reverie.envs.domains.miniarcade.canvas import (
    CANVAS_PX,
    StaticLayer,
    fill_polygon,
    new_canvas,
    to_frame,
)
from reverie.envs.domains.miniarcade.effects import blend_disk, fill_gradient, tint
from reverie.envs.domains.miniarcade.runner import (
    GROUND_PX,
    NUM_PEBBLES,
    RUNNER_HEIGHT_PX,
    RUNNER_LEFT_PX,
    RUNNER_WIDTH_PX,
    SCROLL_PX,
    STANDING_PX,
    Segment,
    draw_limbs,
    is_standing,
    jump,
    next_pose,
    runner_box,
)

Box = tuple[int, int, int, int]

OBSTACLE_LEFT_PX = 264
SMALL_PX, TALL_PX = (15, 25), (20, 40)
"""Width and height of the two kinds of cactus."""
GROUPS = (
    ((0, SMALL_PX),),
    ((0, TALL_PX),),
    ((0, SMALL_PX), (20, TALL_PX)),
    ((0, TALL_PX), (25, SMALL_PX)),
)
"""Groups of cacti: place right of the group's left edge, and size."""
DUST_LIFE = 20
NUM_DUST = 5

_ARMS: tuple[tuple[Segment, ...], ...] = (
    (((6, 12), (-2, 18)), ((12, 12), (20, 18))),
    (((6, 12), (0, 20)), ((12, 12), (22, 20))),
)
_LEGS: tuple[tuple[Segment, ...], ...] = (
    (((6, 25), (0, 35)), ((12, 25), (18, 35))),
    (((6, 25), (-2, 35)), ((12, 25), (20, 35))),
)
_EARTH = (115, 90, 65)
_CACTUS = (108, 138, 72)

FULL_SCORE = 500
"""Return that counts as a full score: one per step."""


@dataclass(kw_only=True, slots=True)
class CowboyState:
    """Everything that changes. Pixels and pixels per step; y points down."""

    steps: int
    y: float
    """Top edge of the runner."""
    velocity_y: float
    is_collided: bool
    pose: int
    pose_timer: int
    cacti: list[Box]
    pebbles: list[tuple[float, float]]
    dust: list[tuple[float, float, float, float, int]]
    """Place, velocity and steps left of each grain."""
    sun: tuple[int, int, int]
    """Radius, centre x and y."""
    sun_color: tuple[int, int, int]


class Cowboy:
    """The game. Jumping is possible from the ground only; standing in a cactus costs 1 a step."""

    def __init__(self) -> None:
        """Start some episode."""
        self._background = StaticLayer(_paint_background)
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the first cacti, the pebbles and the sun."""
        cacti = _draw_group(rng)
        pebbles = [_draw_pebble(rng, CANVAS_PX) for _ in range(NUM_PEBBLES)]
        radius = int(rng.integers(12, 19, endpoint=True))
        x = CANVAS_PX - int(rng.integers(20, 39, endpoint=True))
        y = int(rng.integers(15, 34, endpoint=True))
        red, green, blue = (
            min(max(value + int(rng.integers(-10, 9, endpoint=True)), 0), 255)
            for value in (230, 212, 100)
        )
        self.state = CowboyState(
            steps=0,
            y=float(STANDING_PX),
            velocity_y=0.0,
            is_collided=False,
            pose=0,
            pose_timer=0,
            cacti=cacti,
            pebbles=pebbles,
            dust=[],
            sun=(radius, x, y),
            sun_color=(red, green, blue),
        )

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Jump and fall, land on cacti, scroll unless stuck in one."""
        state = self.state
        push = float(action[0])
        does_jump = push > 0 and is_standing(state.y)
        state.y, state.velocity_y, _ = jump(state.y, state.velocity_y, push)
        self._move_dust(rng, NUM_DUST if does_jump else 0)
        self._meet_cacti()
        if not state.is_collided:
            self._scroll(rng)
        if group_box(state.cacti).right < 0:
            state.cacti = _draw_group(rng)
            state.is_collided = False
        if is_standing(state.y) and not state.is_collided:
            state.pose_timer, state.pose = next_pose(state.pose_timer, state.pose)
        state.steps += 1
        return -1.0 if state.is_collided else 1.0

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return height, its speed and the place of the next cacti."""
        state = self.state
        left = group_box(state.cacti).left
        values = ((state.y - STANDING_PX) / CANVAS_PX, state.velocity_y / 10, left / CANVAS_PX)
        return np.array(values, dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return the part of the largest possible return."""
        return min(max(total_reward / FULL_SCORE, 0.0), 1.0)

    def is_success(self) -> bool:
        """Return False: the benchmark defines no success here."""
        return False

    def is_over(self) -> bool:
        """Return False: the run ends by its time limit only."""
        return False

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the desert, the runner, the cacti, and the sun over all of them."""
        state = self.state
        canvas = new_canvas()
        self._background.show(canvas, None)
        for x, y in state.pebbles:
            pygame.draw.circle(canvas, _EARTH, (int(x), int(y)), 1)
        self._draw_runner(canvas)
        for cactus in state.cacti:
            _draw_cactus(canvas, pygame.Rect(cactus))
        for x, y, _, _, life in state.dust:
            color = (150, 120, 100, int(255 * life / DUST_LIFE))
            blend_disk(canvas, color, (int(x) + 2, int(y) + 2), 2)
        self._draw_sun(canvas)
        if state.is_collided:
            tint(canvas, (220, 60, 60, 20))
        return to_frame(canvas)

    def _move_dust(self, rng: np.random.Generator, num_new: int) -> None:
        state = self.state
        for _ in range(num_new):
            velocity = (float(rng.uniform(-1.0, 1.0)), float(rng.uniform(-2.0, 0.0)))
            state.dust.append((49.0, 182.0, *velocity, DUST_LIFE))
        state.dust = [(x + u, y + v, u, v + 0.1, life - 1) for x, y, u, v, life in state.dust]
        state.dust = [grain for grain in state.dust if grain[-1] > 0]

    def _meet_cacti(self) -> None:
        state = self.state
        box, runner = group_box(state.cacti), runner_box(state.y)
        overlap = min(runner.right, box.right) - max(runner.left, box.left)
        is_on_top = state.velocity_y > 0 and overlap / RUNNER_WIDTH_PX > 0.5
        if runner.colliderect(box) and is_on_top and state.y + RUNNER_HEIGHT_PX > box.top:
            state.y, state.velocity_y = float(box.top - RUNNER_HEIGHT_PX), 0.0
        state.is_collided = bool(runner_box(state.y).colliderect(box))

    def _scroll(self, rng: np.random.Generator) -> None:
        state = self.state
        state.cacti = [(x - SCROLL_PX, y, w, h) for x, y, w, h in state.cacti]
        for index, (x, y) in enumerate(state.pebbles):
            is_gone = x - SCROLL_PX < 0
            state.pebbles[index] = _draw_pebble(rng, 20) if is_gone else (x - SCROLL_PX, y)

    def _draw_runner(self, canvas: pygame.Surface) -> None:
        x, y = RUNNER_LEFT_PX, int(self.state.y)
        pygame.draw.rect(canvas, (139, 69, 19), (x + 6, y + 10, 6, 15))
        pygame.draw.circle(canvas, (222, 184, 135), (x + 9, y + 5), 5)
        pygame.draw.line(canvas, (0, 0, 0), (x, y + 1), (x + 18, y + 1), 2)
        fill_polygon(canvas, (0, 0, 0), [(x + 5, y - 3), (x + 13, y - 3), (x + 9, y - 8)])
        draw_limbs(canvas, y, _ARMS[self.state.pose] + _LEGS[self.state.pose])

    def _draw_sun(self, canvas: pygame.Surface) -> None:
        radius, x, y = self.state.sun
        color = self.state.sun_color
        for size in range(2 * radius, radius, -4):
            alpha = max(0, 30 - (2 * radius - size) // 2)
            blend_disk(canvas, (*color, alpha), (x, y), size)
        pygame.draw.circle(canvas, color, (x, y), radius)


def make_game(variant: str) -> Cowboy:
    """Make the game; it has no variants."""
    if variant:
        raise ValueError(f"Cowboy has no variants, got '{variant}'.")
    return Cowboy()


def group_box(cacti: list[Box]) -> pygame.Rect:
    """Return the box around a group of cacti, which is what the runner hits."""
    return pygame.Rect(cacti[0]).unionall([pygame.Rect(cactus) for cactus in cacti[1:]])


def _draw_group(rng: np.random.Generator) -> list[Box]:
    group = GROUPS[int(rng.integers(len(GROUPS)))]
    return [
        (OBSTACLE_LEFT_PX + right, GROUND_PX - height, width, height)
        for right, (width, height) in group
    ]


def _draw_pebble(rng: np.random.Generator, reach: int) -> tuple[float, float]:
    x = CANVAS_PX + float(rng.uniform(0.0, reach))
    return x, GROUND_PX + float(rng.uniform(1.0, 4.0))


def _paint_background(canvas: pygame.Surface, key: None) -> None:
    sky, sand = ((150, 190, 220), (210, 220, 235)), ((196, 166, 135), (140, 110, 90))
    fill_gradient(canvas, sky, rows=(0, CANVAS_PX), span=CANVAS_PX)
    fill_gradient(canvas, sand, rows=(GROUND_PX, CANVAS_PX), span=CANVAS_PX - GROUND_PX)
    pygame.draw.line(canvas, _EARTH, (0, GROUND_PX), (CANVAS_PX, GROUND_PX), 2)


def _draw_cactus(canvas: pygame.Surface, cactus: pygame.Rect) -> None:
    middle = cactus.top + cactus.height // 3
    pygame.draw.rect(canvas, _CACTUS, cactus)
    pygame.draw.rect(canvas, _CACTUS, (cactus.left - 4, middle, 4, 10))
    pygame.draw.rect(canvas, _CACTUS, (cactus.right, middle - 5, 4, 10))
