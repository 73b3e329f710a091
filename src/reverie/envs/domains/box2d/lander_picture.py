"""What the lander's camera sees: moon, sky, exhaust, lander, and flags or a disc as goal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pygame
from jaxtyping import UInt8
from PIL import Image
from pygame import gfxdraw

from reverie.envs.domains.box2d.lander_world import PAD_Y_M, PIXELS_PER_M
from reverie.envs.domains.miniarcade.canvas import fill_polygon, new_layer, to_frame

RGB = tuple[int, int, int]
PICTURE_PX, FRAME_PX = 400, 224
BODY_EDGE_COLOR = (77, 77, 128)
POLE_PX, POLE_WIDTH_PX = 50, 2
PENNANT_PX = (25, 10)
DISC_RADIUS_PX, DISC_ALPHA = 30, 104
PARTICLE_FLOOR = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class LanderLook:
    """The colours of one episode, and what stands where, in metres."""

    sky: RGB
    ground: RGB
    sign: RGB
    """Flags or disc."""
    body: RGB
    sky_corners: list[list[tuple[float, float]]]
    flags_x: tuple[float, ...]
    target: tuple[float, float] | None


class LanderPicture:
    """Draws one moment; keeps nothing."""

    def draw(self, env: Any, look: LanderLook) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the whole world at 400 pixels and reduce it, anti-aliased, to 224."""
        canvas = pygame.Surface((PICTURE_PX, PICTURE_PX), 0, 32)
        canvas.fill(look.ground)
        for corners in look.sky_corners:
            pixels = _pixels(corners)
            fill_polygon(canvas, look.sky, pixels)
            gfxdraw.aapolygon(canvas, pixels, look.sky)
        for particle in env.particles:
            _draw_particle(canvas, particle)
        for body in (env.lander, *env.legs):
            _draw_body(canvas, body, look.body)
        for x in look.flags_x:
            _draw_flag(canvas, x, look)
        if look.target is not None:
            _draw_disc(canvas, look.target, look.sign)
        picture = Image.fromarray(to_frame(pygame.transform.flip(canvas, False, True)))
        small = picture.resize((FRAME_PX, FRAME_PX), Image.Resampling.BILINEAR)
        return np.asarray(small, dtype=np.uint8)


def particle_color(life: float) -> RGB:
    """Return the colour of exhaust: from yellow-white to dark as its life runs out."""
    red = max(PARTICLE_FLOOR, 0.15 + life)
    other = max(PARTICLE_FLOOR, 0.5 * life)
    return (min(int(red * 255), 255), min(int(other * 255), 255), min(int(other * 255), 255))


def _pixels(points: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    return [(int(x * PIXELS_PER_M), int(y * PIXELS_PER_M)) for x, y in points]


def _draw_particle(canvas: pygame.Surface, particle: Any) -> None:
    color = particle_color(particle.ttl)
    for fixture in particle.fixtures:
        x, y = particle.transform * fixture.shape.pos
        centre = (x * PIXELS_PER_M, y * PIXELS_PER_M)
        pygame.draw.circle(canvas, color, centre, fixture.shape.radius * PIXELS_PER_M)


def _draw_body(canvas: pygame.Surface, body: Any, color: RGB) -> None:
    for fixture in body.fixtures:
        corners = [tuple(body.transform * vertex) for vertex in fixture.shape.vertices]
        pixels = _pixels(corners)
        fill_polygon(canvas, color, pixels)
        gfxdraw.aapolygon(canvas, pixels, color)
        exact = [(x * PIXELS_PER_M, y * PIXELS_PER_M) for x, y in corners]
        pygame.draw.aalines(canvas, BODY_EDGE_COLOR, True, exact)


def _draw_flag(canvas: pygame.Surface, x_m: float, look: LanderLook) -> None:
    x, foot = int(x_m * PIXELS_PER_M), int(PAD_Y_M * PIXELS_PER_M)
    top = foot + POLE_PX
    pygame.draw.line(canvas, look.ground, (x, foot), (x, top), POLE_WIDTH_PX)
    pennant = [(x, top), (x, top - PENNANT_PX[1]), (x + PENNANT_PX[0], top - PENNANT_PX[1] // 2)]
    fill_polygon(canvas, look.sign, pennant)
    gfxdraw.aapolygon(canvas, pennant, look.sign)


def _draw_disc(canvas: pygame.Surface, target: tuple[float, float], color: RGB) -> None:
    ((x, y),) = _pixels([target])
    layer = new_layer(2 * DISC_RADIUS_PX + 1, 2 * DISC_RADIUS_PX + 1)
    middle = (DISC_RADIUS_PX, DISC_RADIUS_PX)
    pygame.draw.circle(layer, (*color, DISC_ALPHA), middle, DISC_RADIUS_PX)
    canvas.blit(layer, (x - DISC_RADIUS_PX, y - DISC_RADIUS_PX))
