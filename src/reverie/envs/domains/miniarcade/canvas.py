"""Drawing on a 224-pixel canvas, pixel for pixel as pygame 2.6.1 does it.

pygame-ce draws circles, lines, rectangles and text alike, but not filled polygons; those are drawn
here by the older rule.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cache
from importlib import resources
from typing import Any

import cv2
import numpy as np
import pygame
from jaxtyping import UInt8

CANVAS_PX = 224
BOLD_FILE, REGULAR_FILE = "DejaVuSans-Bold.ttf", "DejaVuSans.ttf"

Point = tuple[int | float, int | float]
Color = tuple[int, int, int] | tuple[int, int, int, int]


def new_canvas() -> pygame.Surface:
    """Make an opaque black canvas."""
    return pygame.Surface((CANVAS_PX, CANVAS_PX), 0, 32)


def new_layer(width_px: int, height_px: int) -> pygame.Surface:
    """Make a transparent layer: drawing on it overwrites colour and alpha, blitting it blends."""
    return pygame.Surface((width_px, height_px), pygame.SRCALPHA, 32)


def to_frame(canvas: pygame.Surface) -> UInt8[np.ndarray, "h w 3"]:
    """Copy a canvas into an RGB array."""
    # The canvas is 32 bit without alpha: its bytes are B, G, R and one unused.
    raw = np.frombuffer(canvas.get_buffer().raw, dtype=np.uint8)
    pixels = raw.reshape(canvas.get_height(), canvas.get_width(), 4)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB), dtype=np.uint8)


def fill_rows(
    surface: pygame.Surface, colors: Iterable[Color], *, x: int, y: int, width: int
) -> None:
    """Paint one horizontal line after another, from row ``y`` downwards."""
    for row, color in enumerate(colors, start=y):
        pygame.draw.line(surface, color, (x, row), (x + width - 1, row))


def fill_polygon(surface: pygame.Surface, color: Color, vertices: Sequence[Point]) -> None:
    """Fill a polygon by the scan-line rule of pygame 2.6.1; vertices are truncated."""
    points = [(int(x), int(y)) for x, y in vertices]
    first, last = min(y for _, y in points), max(y for _, y in points)
    if first == last:
        columns = [x for x, _ in points]
        pygame.draw.line(surface, color, (min(columns), first), (max(columns), first))
        return
    edges = list(zip(points, [*points[1:], points[0]], strict=True))
    slanted = [(min(a, b, key=_row), max(a, b, key=_row)) for a, b in edges if a[1] != b[1]]
    for y in range(first, last + 1):
        crossings = sorted(
            int((y - y1) * (x2 - x1) / (y2 - y1) + x1)
            for (x1, y1), (x2, y2) in slanted
            if y1 <= y < y2 or y == y2 == last
        )
        for left, right in zip(crossings[::2], crossings[1::2], strict=True):
            pygame.draw.line(surface, color, (left, y), (right, y))
    for (x1, y1), (x2, y2) in edges:
        if y1 == y2 and first < y1 < last:
            pygame.draw.line(surface, color, (x1, y1), (x2, y2))


def _row(point: tuple[int, int]) -> int:
    return point[1]


@cache
def _font(name: str, size_px: int) -> pygame.font.Font:
    # Bundled; ``pygame.font`` is started on first use.
    pygame.font.init()
    file = resources.files("reverie.envs.domains.miniarcade") / "fonts" / name
    with resources.as_file(file) as path:
        return pygame.font.Font(str(path), size_px)


@cache
def bold_text(text: str, size_px: int, color: Color) -> pygame.Surface:
    """Render anti-aliased bold text. Shared by all callers: do not draw on it."""
    return _font(BOLD_FILE, size_px).render(text, True, color)


@cache
def regular_text(text: str, size_px: int, color: Color) -> pygame.Surface:
    """Render anti-aliased regular text. Shared by all callers: do not draw on it."""
    return _font(REGULAR_FILE, size_px).render(text, True, color)


class StaticLayer:
    """A picture that is painted again only when what it shows has changed."""

    def __init__(
        self, paint: Callable[[pygame.Surface, Any], None], *, color_key: Color | None = None
    ) -> None:
        """Remember how to paint the picture of a key.

        Args:
            paint: Paints the picture of a key (given second) onto a fresh canvas (given first).
            color_key: Where given, the fresh canvas has this colour and it stays transparent.
        """
        self._paint = paint
        self._color_key = color_key
        self._key: Hashable = None
        self._picture: pygame.Surface | None = None

    def show(self, canvas: pygame.Surface, key: Hashable) -> None:
        """Put the picture of ``key`` over the whole canvas."""
        if self._picture is None or key != self._key:
            self._picture = new_canvas()
            if self._color_key is not None:
                self._picture.fill(self._color_key)
                self._picture.set_colorkey(self._color_key, pygame.RLEACCEL)
            self._paint(self._picture, key)
            self._key = key
        canvas.blit(self._picture, (0, 0))
