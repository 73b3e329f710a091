"""The beach of coconut dodge: sky, dunes and palms, drawn anew for each episode."""

import math
from dataclasses import dataclass

import numpy as np
import pygame

from reverie.envs.domains.miniarcade.canvas import fill_polygon, fill_rows, new_layer
from reverie.envs.domains.miniarcade.effects import mixed

AREA = (12, 12, 200, 200)
HORIZON_PX = 104
NUM_STARS = 22
_PALM = (50, 35, 20)
_FRONDS = (-1.05, -0.6, -0.2, 0.2, 0.6, 1.05)
"""Angles of a palm's fronds, radians above the ground."""


@dataclass(frozen=True, slots=True)
class Decor:
    """What the beach looks like in this episode."""

    stars: tuple[tuple[int, int, int], ...]
    """Place and radius."""
    palms: tuple[float, float]
    """Scales of the large and of the small palm."""
    dunes: tuple[float, float, float, float]
    """Height and phase of the far dune and of the near one."""


def draw_decor(rng: np.random.Generator) -> Decor:
    """Draw stars, palms and dunes at random."""
    stars = tuple(
        (int(rng.integers(18, 206)), int(rng.integers(18, 98)), int(rng.integers(1, 3)))
        for _ in range(NUM_STARS)
    )
    palms = (1.1 * float(rng.uniform(0.9, 1.1)), 0.55 * float(rng.uniform(0.9, 1.1)))
    far, near = float(rng.uniform(3.0, 5.0)), float(rng.uniform(4.5, 6.0))
    phases = (float(rng.uniform(0.0, 2 * math.pi)), float(rng.uniform(0.0, 2 * math.pi)))
    return Decor(stars, palms, (far, phases[0], near, phases[1]))


def paint_beach(canvas: pygame.Surface, decor: Decor) -> None:
    """Paint everything that does not move."""
    left, top, width, height = AREA
    sky = new_layer(width, HORIZON_PX - top)
    shades = (mixed((80, 40, 120), (252, 165, 3), row / 91) for row in range(HORIZON_PX - top))
    fill_rows(sky, ((*shade, 235) for shade in shades), x=0, y=0, width=width)
    canvas.blit(sky, (left, top))
    stars = new_layer(*canvas.get_size())
    for x, y, radius in decor.stars:
        pygame.draw.circle(stars, (255, 255, 255, 110), (x, y), radius)
    canvas.blit(stars, (0, 0))
    sand = new_layer(width, top + height - HORIZON_PX)
    sand.fill((196, 178, 128, 235))
    canvas.blit(sand, (left, HORIZON_PX))
    far, far_phase, near, near_phase = decor.dunes
    crests = [104 + int(far + far * math.sin(i / 23 + far_phase)) for i in range(201)]
    _paint_dune(canvas, (208, 190, 140), 104, crests)
    crests = [104 + int(12 + near * math.sin((i + 40) / 19 + near_phase)) for i in range(201)]
    _paint_dune(canvas, (192, 175, 132), 114, crests)
    _paint_palm(canvas, (68, 120), decor.palms[0], 1)
    _paint_palm(canvas, (164, 110), decor.palms[1], -1)
    pygame.draw.rect(canvas, (230, 230, 230), AREA, 2)


def _paint_dune(
    canvas: pygame.Surface, color: tuple[int, int, int], start: int, crests: list[int]
) -> None:
    # Column by column: the polygon has 200 corners, and scanning its rows takes far longer.
    del start
    for column, crest in enumerate(crests):
        pygame.draw.line(canvas, color, (12 + column, crest), (12 + column, 212))


def _paint_palm(canvas: pygame.Surface, foot: tuple[int, int], scale: float, mirror: int) -> None:
    trunk = [
        (
            foot[0] + mirror * int(5 * math.sin(1.2 * index / 11)),
            foot[1] - int(44 * scale * index / 11),
        )
        for index in range(12)
    ]
    pygame.draw.lines(canvas, _PALM, False, trunk, 3)
    for angle in _FRONDS:
        _paint_frond(canvas, trunk[-1], angle, scale, mirror)


def _paint_frond(
    canvas: pygame.Surface, crown: tuple[int, int], angle: float, scale: float, mirror: int
) -> None:
    length, wide = 26 * scale * (0.9 + 0.2 * (1 - abs(angle))), 5 * scale
    x, y = crown
    tip_x = x + int(mirror * length * math.cos(angle))
    pygame.draw.line(canvas, _PALM, crown, (tip_x, y - int(length * math.sin(angle))), 2)
    for index in range(7):
        t = (index + 1) / 8
        turn = angle + 0.25 * (t - 0.5)
        base_x = x + int(mirror * t * length * math.cos(turn))
        base_y = y - int(t * length * math.sin(turn))
        right, down = mirror * math.cos(turn), -math.sin(turn)
        side = -1 if index % 2 == 0 else 1
        aside, ahead = wide * (1 - 0.5 * t), wide * (1.5 - t) * 2.2
        leaflet = [
            (base_x, base_y),
            (base_x - side * down * aside, base_y + side * right * aside),
            (
                base_x + right * ahead - side * down * 0.4 * aside,
                base_y + down * ahead + side * right * 0.4 * aside,
            ),
        ]
        fill_polygon(canvas, _PALM, leaflet)
