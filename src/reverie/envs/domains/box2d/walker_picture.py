"""What the walker's camera sees: sky, clouds, ground, obstacles and the robot."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pygame
from jaxtyping import UInt8
from pygame import gfxdraw

from reverie.envs.domains.box2d.terrain import STEP_M
from reverie.envs.domains.miniarcade.canvas import fill_polygon, new_canvas, to_frame

RGB = tuple[int, int, int]
Metres = Sequence[float]
CANVAS_PX = 224
LIDAR_COLOR = (255, 0, 0)
CLOUD_EDGE_COLOR = (255, 255, 255)
NUM_RAYS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class WalkerLook:
    """The colours of one episode, and where its ground and clouds are."""

    sky: RGB
    cloud: RGB
    grounds: list[RGB]
    ground_lines: list[RGB]
    heights: list[float]
    clouds: list[tuple[list[tuple[float, float]], float, float]]
    """Corners, left end and right end of each cloud, in metres."""


class WalkerPicture:
    """Draws one moment; keeps nothing."""

    def __init__(self, module: ModuleType) -> None:
        """Take the scale from the simulator's module."""
        self._scale = float(module.SCALE)

    def draw(self, env: Any, look: WalkerLook) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the part of the world around the robot, 14.93 metres wide and high."""
        canvas = new_canvas()
        # The library paints a picture as wide as the way so far and keeps its right end.
        left_px = int(max(0.0, env.scroll) * self._scale)
        canvas.fill(look.sky)
        self._draw_clouds(canvas, look, env.scroll, left_px)
        self._draw_ground(canvas, look, env.scroll, left_px)
        self._draw_ray(canvas, env, left_px)
        self._draw_bodies(canvas, env, look, left_px)
        return to_frame(pygame.transform.flip(canvas, False, True))

    def _pixels(self, points: Sequence[Metres], left_px: int) -> list[tuple[int, int]]:
        # Truncated before shifting: to the right of the world's edge that is rounding down.
        scaled = [(int(x * self._scale), int(y * self._scale)) for x, y in points]
        return [(x - left_px, y) for x, y in scaled]

    def _fill(self, canvas: pygame.Surface, pixels: list[tuple[int, int]], color: RGB) -> None:
        fill_polygon(canvas, color, pixels)

    def _draw_clouds(
        self, canvas: pygame.Surface, look: WalkerLook, scroll: float, left_px: int
    ) -> None:
        width_m = CANVAS_PX / self._scale
        for corners, left, right in look.clouds:
            if right < scroll / 2 or left > scroll / 2 + width_m:
                continue
            moved = [(x + scroll / 2, y) for x, y in corners]
            pixels = self._pixels(moved, left_px)
            self._fill(canvas, pixels, look.cloud)
            gfxdraw.aapolygon(canvas, pixels, CLOUD_EDGE_COLOR)

    def _draw_ground(
        self, canvas: pygame.Surface, look: WalkerLook, scroll: float, left_px: int
    ) -> None:
        width_m = CANVAS_PX / self._scale
        for index, color in enumerate(look.grounds):
            left, right = STEP_M * index, STEP_M * (index + 1)
            if right < scroll or left > scroll + width_m:
                continue
            top = [(left, look.heights[index]), (right, look.heights[index + 1])]
            pixels = self._pixels([*top, (right, 0.0), (left, 0.0)], left_px)
            self._fill(canvas, pixels, color)
            gfxdraw.aapolygon(canvas, pixels, color)

    def _draw_ray(self, canvas: pygame.Surface, env: Any, left_px: int) -> None:
        index = env.lidar_render
        if index >= 2 * NUM_RAYS:
            return
        ray = env.lidar[index if index < NUM_RAYS else NUM_RAYS - index - 1]
        start, end = self._pixels([tuple(ray.p1), tuple(ray.p2)], left_px)
        pygame.draw.line(canvas, LIDAR_COLOR, start, end, 1)

    def _draw_bodies(
        self, canvas: pygame.Surface, env: Any, look: WalkerLook, left_px: int
    ) -> None:
        last = len(look.ground_lines) - 1
        for index, body in enumerate(env.terrain):
            # The list was turned round: the last segment of the ground comes first.
            if index <= last:
                self._draw_line(canvas, look, last - index, left_px)
            else:
                self._draw_shape(canvas, body, (body.userData.fill, body.userData.edge), left_px)
        for body in (*env.legs, env.hull):
            self._draw_shape(canvas, body, (body.color1, body.color2), left_px)

    def _draw_line(
        self, canvas: pygame.Surface, look: WalkerLook, index: int, left_px: int
    ) -> None:
        ends = [
            (STEP_M * at * self._scale - left_px, look.heights[at] * self._scale)
            for at in (index, index + 1)
        ]
        if ends[1][0] >= 0 and ends[0][0] <= CANVAS_PX:
            pygame.draw.aaline(canvas, look.ground_lines[index], ends[0], ends[1])

    def _draw_shape(
        self, canvas: pygame.Surface, body: Any, colors: tuple[RGB, RGB], left_px: int
    ) -> None:
        for fixture in body.fixtures:
            corners = [tuple(body.transform * vertex) for vertex in fixture.shape.vertices]
            pixels = self._pixels(corners, left_px)
            if max(x for x, _ in pixels) < 0 or min(x for x, _ in pixels) > CANVAS_PX:
                continue
            self._fill(canvas, pixels, colors[0])
            gfxdraw.aapolygon(canvas, pixels, colors[0])
            pygame.draw.polygon(canvas, colors[1], [*pixels, pixels[0]], 1)
            gfxdraw.aapolygon(canvas, pixels, colors[1])
