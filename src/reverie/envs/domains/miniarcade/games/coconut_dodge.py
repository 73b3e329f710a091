"""Coconut dodge: walk along a beach and let no falling coconut hit you."""

import math
from dataclasses import dataclass

import numpy as np
import pygame
from jaxtyping import Float32, UInt8

from reverie.envs.domains.miniarcade.beach import Decor, draw_decor, paint_beach
from reverie.envs.domains.miniarcade.canvas import (
    StaticLayer,
    fill_polygon,
    new_canvas,
    new_layer,
    to_frame,
)
from reverie.envs.domains.miniarcade.effects import blend_disk, shifted, tint

AREA_LOW_PX, AREA_SIDE_PX = 12, 200
AREA_HIGH_PX = AREA_LOW_PX + AREA_SIDE_PX
THRUST, DAMPING, MAX_SPEED_PX = 0.85, 0.97, 5.0
RADIUS_PX, AGENT_Y_PX = 9, 200.0
COCONUT_RADIUS_PX, MAX_COCONUTS = 7, 6
CRACK_STEPS, COLLISION_STEPS = 10, 6
DUST_LIFE, PRINT_LIFE, PRINT_PAUSE = 16, 6, 4
_SKIN, _BROWN, _SHOE = (235, 205, 170), (160, 120, 90), (90, 70, 55)
_HUSK = (90, 66, 38)


@dataclass(slots=True)
class Coconut:
    """One coconut, falling or, while it counts down, cracked on the sand."""

    x: float
    y: float
    velocity_x: float
    velocity_y: float
    radius: int
    is_dark: bool
    has_stripe: bool
    speckles: tuple[tuple[int, int, int], ...]
    """Offset and size."""
    cracked: int = 0
    """Steps that its halves are still seen; 0 while it falls."""
    split: int = 1


@dataclass(kw_only=True, slots=True)
class CoconutState:
    """Everything that changes. Pixels and pixels per step; y points down."""

    steps: int
    x: float
    velocity: float
    walk_phase: float
    coconuts: list[Coconut]
    dust: list[tuple[float, float, float, float, int, int]]
    """Place, velocity, steps left and radius of each grain."""
    prints: list[tuple[float, float, int]]
    print_timer: int
    collision_timer: int
    decor: Decor


class CoconutDodge:
    """The game. Each step in touch with a falling coconut costs 1."""

    def __init__(self) -> None:
        """Start some episode."""
        self._background = StaticLayer(paint_beach)
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the beach and the first coconut."""
        self.state = CoconutState(
            steps=0,
            x=112.0,
            velocity=0.0,
            walk_phase=0.0,
            coconuts=[_draw_coconut(rng, 0)],
            dust=[],
            prints=[],
            print_timer=0,
            collision_timer=0,
            decor=draw_decor(rng),
        )

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Walk, let the coconuts fall, count a hit."""
        state = self.state
        velocity = (state.velocity + THRUST * float(action[0])) * DAMPING
        state.velocity = min(max(velocity, -MAX_SPEED_PX), MAX_SPEED_PX)
        state.walk_phase += 0.12 * abs(state.velocity)
        low, high = AREA_LOW_PX + RADIUS_PX, AREA_HIGH_PX - RADIUS_PX
        state.x = min(max(state.x + state.velocity, float(low)), float(high))
        for index, coconut in enumerate(state.coconuts):
            if coconut.cracked == 0:
                self._drop(coconut, rng)
                continue
            coconut.cracked -= 1
            if coconut.cracked == 0:
                state.coconuts[index] = _draw_coconut(rng, state.steps)
        self._settle_sand()
        is_hit = any(
            math.hypot(coconut.x - state.x, coconut.y - AGENT_Y_PX) < RADIUS_PX + coconut.radius
            for coconut in state.coconuts
            if coconut.cracked == 0
        )
        if is_hit:
            state.collision_timer = COLLISION_STEPS
        state.steps += 1
        while len(state.coconuts) < 1 + int(5 * state.steps / 500):
            state.coconuts.append(_draw_coconut(rng, state.steps))
        state.collision_timer = max(state.collision_timer - 1, 0)
        return -1.0 if is_hit else 0.0

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return the agent, the nearest falling coconut and all of them by distance."""
        state = self.state
        ordered = sorted(state.coconuts, key=self._distance)
        falling = [coconut for coconut in ordered if coconut.cracked == 0]
        values = [(state.x - AREA_LOW_PX) / AREA_SIDE_PX, state.velocity / MAX_SPEED_PX]
        if falling:
            nearest = falling[0]
            values += [(nearest.x - state.x) / 200, (nearest.y - AGENT_Y_PX) / AREA_SIDE_PX]
        else:
            values += [0.0, -1.0]
        values += [float(state.collision_timer > 0)]
        for coconut in ordered[:MAX_COCONUTS]:
            values += [(place - AREA_LOW_PX) / AREA_SIDE_PX for place in (coconut.x, coconut.y)]
            values += [coconut.velocity_x / MAX_SPEED_PX, coconut.velocity_y / MAX_SPEED_PX]
        values += [0.0] * (29 - len(values))
        return np.array(values, dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return 1 without a hit, 0 from 15 steps of being hit on."""
        return min(max((total_reward + 15) / 15, 0.0), 1.0)

    def is_success(self) -> bool:
        """Return False: the benchmark defines no success here."""
        return False

    def is_over(self) -> bool:
        """Return False: the walk ends by its time limit only."""
        return False

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the beach; a hit shakes the picture by fresh draws."""
        state = self.state
        canvas = new_canvas()
        self._background.show(canvas, state.decor)
        for x, y, life in state.prints:
            tile = new_layer(6, 3)
            pygame.draw.ellipse(tile, (70, 55, 45, int(190 * life / PRINT_LIFE)), (0, 0, 6, 3))
            canvas.blit(tile, (int(x - 3), int(y - 1)))
        for coconut in state.coconuts:
            (_draw_whole if coconut.cracked == 0 else _draw_halves)(canvas, coconut)
        for x, y, _, _, life, radius in state.dust:
            color = (215, 195, 150, int(230 * life / DUST_LIFE))
            blend_disk(canvas, color, (int(x), int(y)), radius)
        _draw_walker(canvas, int(state.x), math.sin(state.walk_phase))
        if state.collision_timer > 0:
            tint(canvas, (186, 108, 24, 70))
            right = int(rng.integers(-3, 3, endpoint=True))
            canvas = shifted(canvas, right, int(rng.integers(-3, 3, endpoint=True)))
        return to_frame(canvas)

    def _distance(self, coconut: Coconut) -> float:
        return math.hypot(coconut.x - self.state.x, coconut.y - AGENT_Y_PX)

    def _drop(self, coconut: Coconut, rng: np.random.Generator) -> None:
        coconut.x += coconut.velocity_x
        coconut.y += coconut.velocity_y
        low, high = float(AREA_LOW_PX + coconut.radius), float(AREA_HIGH_PX - coconut.radius)
        if not low <= coconut.x <= high:
            coconut.x = min(max(coconut.x, low), high)
            coconut.velocity_x = -coconut.velocity_x
        if coconut.y >= high:
            coconut.y, coconut.cracked = high, CRACK_STEPS
            coconut.split = -1 if coconut.velocity_x < 0 else 1
            self.state.dust += [_draw_dust(rng, coconut) for _ in range(16)]

    def _settle_sand(self) -> None:
        state = self.state
        moved = [(x + u, y + v, u, v + 0.15, life - 1, r) for x, y, u, v, life, r in state.dust]
        state.dust = [
            grain
            for grain in moved
            if grain[4] > 0
            and AREA_LOW_PX <= grain[0] <= AREA_HIGH_PX
            and AREA_LOW_PX <= grain[1] <= AREA_HIGH_PX
        ]
        state.print_timer -= 1
        if abs(state.velocity) > 0.25 and state.print_timer <= 0:
            ahead = -1 if state.velocity < 0 else 1
            for side in (-5, 5):
                state.prints.append((float(int(state.x) + side - ahead), 205.0, PRINT_LIFE))
            state.print_timer = PRINT_PAUSE
        state.prints = [(x, y, life - 1) for x, y, life in state.prints if life > 1]


def make_game(variant: str) -> CoconutDodge:
    """Make the game; it has no variants."""
    if variant:
        raise ValueError(f"Coconut dodge has no variants, got '{variant}'.")
    return CoconutDodge()


def _draw_coconut(rng: np.random.Generator, steps: int) -> Coconut:
    difficulty = steps / 500
    radius = COCONUT_RADIUS_PX + int(rng.integers(-1, 1, endpoint=True))
    is_dark, has_stripe = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    speckles: list[tuple[int, int, int]] = []
    reach = radius - 2
    for _ in range(int(rng.integers(2, 4, endpoint=True))):
        right, down = reach, reach
        while math.hypot(right, down) > reach:
            right = int(rng.integers(-reach, reach, endpoint=True))
            down = int(rng.integers(-reach, reach, endpoint=True))
        speckles.append((right, down, int(rng.integers(1, 2, endpoint=True))))
    return Coconut(
        x=float(rng.uniform(AREA_LOW_PX + radius, AREA_HIGH_PX - radius)),
        y=13.0 + radius,
        velocity_x=float(rng.uniform(-0.5, 0.5)) * (1 + 0.6 * difficulty),
        velocity_y=float(rng.uniform(1.4, 2.6)) * (1 + 0.8 * difficulty),
        radius=radius,
        is_dark=is_dark,
        has_stripe=has_stripe,
        speckles=tuple(speckles),
    )


def _draw_dust(
    rng: np.random.Generator, coconut: Coconut
) -> tuple[float, float, float, float, int, int]:
    angle, speed = float(rng.uniform(0.9, 2.2)), float(rng.uniform(0.8, 2.2))
    velocity_x = speed * math.cos(angle) * (0.7 + 0.3 * coconut.split)
    velocity_y = -abs(speed * math.sin(angle)) * float(rng.uniform(0.6, 1.1))
    x = coconut.x + float(rng.uniform(-3.0, 3.0))
    y = 210.0 + float(rng.uniform(-1.0, 1.0))
    return x, y, velocity_x, velocity_y, DUST_LIFE, int(rng.integers(2, 3, endpoint=True))


def _draw_whole(canvas: pygame.Surface, coconut: Coconut) -> None:
    x, y, radius = int(coconut.x), int(coconut.y), coconut.radius
    shell = (110, 82, 46) if coconut.is_dark else (133, 102, 62)
    pygame.draw.circle(canvas, shell, (x, y), radius)
    pygame.draw.circle(canvas, _HUSK, (x, y), radius, 2)
    if coconut.has_stripe:
        for index in range(10):
            angle = -0.6 + 1.2 * index / 9
            right, down = int((radius - 2) * math.cos(angle)), int((radius - 2) * math.sin(angle))
            if math.hypot(right, down) <= radius - 1:
                canvas.set_at((x + right, y + down), _HUSK)
    for right, down, size in coconut.speckles:
        if math.hypot(right, down) <= radius - 1:
            pygame.draw.circle(canvas, (70, 52, 30), (x + right, y + down), size)


def _draw_halves(canvas: pygame.Surface, coconut: Coconut) -> None:
    part = (CRACK_STEPS - coconut.cracked) / CRACK_STEPS
    apart, sideways, droop = int(6 * part), int(2 * part) * coconut.split, int(2 * part)
    y = int(coconut.y) + droop
    for side, start in ((-1, math.pi / 2), (1, -math.pi / 2)):
        x = int(coconut.x) + side * (apart + sideways)
        angles = [start + math.pi * index / 13 for index in range(14)]
        rim, flesh = (
            [(int(x + r * math.cos(angle)), int(y + r * math.sin(angle))) for angle in angles]
            for r in (coconut.radius, coconut.radius - 3)
        )
        fill_polygon(canvas, (123, 92, 52), rim)
        pygame.draw.lines(canvas, _HUSK, False, rim, 2)
        pygame.draw.lines(canvas, (240, 240, 240), False, flesh, 2)


def _draw_walker(canvas: pygame.Surface, x: int, swing: float) -> None:
    pygame.draw.ellipse(canvas, _SKIN, (x - 7, 185, 14, 18))
    pygame.draw.ellipse(canvas, _BROWN, (x - 7, 185, 14, 18), 2)
    pygame.draw.rect(canvas, _SKIN, (x - 3, 183, 6, 4))
    pygame.draw.circle(canvas, (245, 220, 185), (x, 181), 5)
    pygame.draw.circle(canvas, _BROWN, (x, 181), 5, 1)
    arm = new_layer(10, 4)
    pygame.draw.ellipse(arm, _BROWN, (0, 0, 10, 4))
    for side in (1, -1):
        turned = pygame.transform.rotate(arm, side * (-35 + 4 * swing))
        canvas.blit(turned, turned.get_rect(center=(x + 6 * side, 190)))
    pygame.draw.ellipse(canvas, _SHOE, (x - 6, 203 + int(-1.2 * swing), 6, 3))
    pygame.draw.ellipse(canvas, _SHOE, (x + 1, 203 + int(1.2 * swing), 6, 3))
