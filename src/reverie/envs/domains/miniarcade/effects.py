"""Pictures laid over pictures: tints, glows, gradients, shakes, outlines."""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import pygame

from reverie.envs.domains.miniarcade.canvas import (
    CANVAS_PX,
    Color,
    Point,
    bold_text,
    fill_rows,
    new_canvas,
    new_layer,
)


def mixed(first: Color, second: Color, weight: float) -> tuple[int, int, int]:
    """Return the colour ``weight`` of the way from one to another, truncated."""
    red, green, blue = (
        int(a * (1 - weight) + b * weight) for a, b in zip(first[:3], second[:3], strict=True)
    )
    return red, green, blue


def fill_gradient(
    canvas: pygame.Surface, colors: tuple[Color, Color], *, rows: tuple[int, int], span: int
) -> None:
    """Paint full-width rows from the first colour towards the second.

    Args:
        canvas: Where to paint.
        colors: The first row's colour, and the one reached after ``span`` rows.
        rows: First row, and the one after the last.
        span: Rows from one colour to the other; may be longer than what is painted.
    """
    first, second = colors
    shades = (mixed(first, second, (row - rows[0]) / span) for row in range(*rows))
    fill_rows(canvas, shades, x=0, y=rows[0], width=CANVAS_PX)


def tint(canvas: pygame.Surface, color: tuple[int, int, int, int]) -> None:
    """Blend the whole canvas with one colour."""
    canvas.blit(_plain(canvas.get_size(), color), (0, 0))


def blend_rect(
    canvas: pygame.Surface,
    color: tuple[int, int, int, int],
    area: tuple[int, int, int, int],
) -> None:
    """Blend a rectangle of the canvas with one colour."""
    canvas.blit(_plain(area[2:], color), area[:2])


@cache
def _plain(size: tuple[int, int], color: tuple[int, int, int, int]) -> pygame.Surface:
    layer = new_layer(*size)
    layer.fill(color)
    return layer


def blend_disk(
    canvas: pygame.Surface,
    color: tuple[int, int, int, int],
    centre: tuple[int, int],
    radius: int,
    *,
    width: int = 0,
) -> None:
    """Blend a disk over the canvas, or, with a ``width``, a ring."""
    layer = _disk(color, radius, width)
    canvas.blit(layer, (centre[0] - radius - 1, centre[1] - radius - 1))


@cache
def _disk(color: tuple[int, int, int, int], radius: int, width: int) -> pygame.Surface:
    side = 2 * radius + 3
    layer = new_layer(side, side)
    pygame.draw.circle(layer, color, (radius + 1, radius + 1), radius, width)
    return layer


def blend_glow(
    canvas: pygame.Surface,
    color: tuple[int, int, int],
    centre: tuple[int, int],
    radius: int,
    brightness: float,
) -> None:
    """Blend a glow whose alpha falls with the square of the distance to its rim."""
    closeness = np.clip(1.0 - _distances(radius), 0.0, 1.0)
    pixels = np.empty((2 * radius, 2 * radius, 4), dtype=np.uint8)
    pixels[..., :3] = color
    pixels[..., 3] = (brightness * closeness**2).astype(np.uint8)
    layer = pygame.image.frombuffer(pixels.tobytes(), (2 * radius, 2 * radius), "RGBA")
    canvas.blit(layer, (centre[0] - radius, centre[1] - radius))


@cache
def _distances(radius: int) -> np.ndarray:
    offsets = np.arange(2 * radius) - radius
    return np.hypot(offsets[:, None], offsets[None, :]) / radius


def shifted(canvas: pygame.Surface, right: int, down: int) -> pygame.Surface:
    """Return the canvas moved by whole pixels; what it uncovers is black."""
    moved = new_canvas()
    moved.blit(canvas, (right, down))
    return moved


def outline_polygon(
    canvas: pygame.Surface, color: Color, vertices: Sequence[Point], width: int
) -> None:
    """Draw the closed outline of a polygon; vertices are truncated."""
    points = [(int(x), int(y)) for x, y in vertices]
    for start, end in zip(points, [*points[1:], points[0]], strict=True):
        draw_line(canvas, color, start, end, width)


def draw_line(
    canvas: pygame.Surface,
    color: Color,
    start: tuple[int, int],
    end: tuple[int, int],
    width: int,
) -> None:
    """Draw a thick line; one that starts beyond a side of the canvas as pygame 2.6.1 does.

    Such a line starts one column outside, in a whole row, but steps up or down as if that were
    its true start; pygame-ce keeps to the true line.
    """
    outside = min(max(start[0], -1), canvas.get_width())
    run, rise = abs(end[0] - start[0]), abs(end[1] - start[1])
    if outside == start[0] or run <= rise:
        pygame.draw.line(canvas, color, start, end, width)
        return
    right, down = (1 if end[axis] > start[axis] else -1 for axis in (0, 1))
    y = round(start[1] + (outside - start[0]) * (end[1] - start[1]) / (end[0] - start[0]))
    error = run // 2
    for x in range(outside, end[0] + right, right):
        top = y - width // 2 + 1 - width % 2
        pygame.draw.line(canvas, color, (x, top), (x, y + width // 2))
        before = error
        error -= rise
        if before < rise:
            error += run
            y += down


def blit_edged_text(
    canvas: pygame.Surface, text: str, size_px: int, color: Color, place: tuple[int, int]
) -> int:
    """Write bold text with a one-pixel black edge; return its width in pixels."""
    shadow = bold_text(text, size_px, (0, 0, 0))
    for right, down in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        canvas.blit(shadow, (place[0] + right, place[1] + down))
    canvas.blit(bold_text(text, size_px, color), place)
    return shadow.get_width()


def unit(x: float, y: float) -> tuple[float, float]:
    """Return a vector's direction; (0, 0) has none and stays."""
    length = math.hypot(x, y)
    return (x / length, y / length) if length > 0 else (0.0, 0.0)
