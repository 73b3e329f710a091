"""The five grounds of the bipedal walker, as heights at regular distances."""

import math
from collections.abc import Callable

import numpy as np

NUM_POINTS = 200
START_PAD = 20
"""Points without noise, under the start."""
STEP_M = 14 / 30
BASE_M = 400 / 30 / 4
NOISE_M = 1 / 15

Point = tuple[float, float]
Block = list[Point]
"""Four corners of an obstacle."""


def make_terrain(kind: str, rng: np.random.Generator) -> tuple[list[float], list[Block]]:
    """Return the heights in metres, one per point, and what stands on the ground or lines a pit."""
    return _MAKERS[kind](rng)


def _flat(rng: np.random.Generator) -> tuple[list[float], list[Block]]:
    return [BASE_M] * NUM_POINTS, []


def _rolling(
    rng: np.random.Generator, *, damping: float, pull: float, noise: float
) -> tuple[list[float], list[Block]]:
    heights: list[float] = []
    slope, y = 0.0, BASE_M
    for index in range(NUM_POINTS):
        slope = damping * slope + pull * float(np.sign(BASE_M - y))
        if index > START_PAD:
            slope += noise * rng.uniform(-1.0, 1.0) * NOISE_M
        y = min(max(y + slope, 1.0), 5.5)
        heights.append(y)
    return heights, []


def _hills(rng: np.random.Generator) -> tuple[list[float], list[Block]]:
    height, length = rng.uniform(0.4, 0.8), rng.uniform(7.0, 14.0)
    heights = [
        BASE_M + rng.uniform(-1.0, -0.8) + height * math.sin(2 * math.pi * STEP_M * index / length)
        for index in range(NUM_POINTS)
    ]
    return [min(max(y, 1.0), 5.5) for y in heights], []


def _obstacles(rng: np.random.Generator) -> tuple[list[float], list[Block]]:
    heights: list[float] = []
    blocks: list[Block] = []
    state, counter, is_first = "grass", START_PAD, False
    slope, y, edge_y = 0.0, BASE_M, BASE_M
    for index in range(NUM_POINTS):
        x = index * STEP_M
        if state == "grass" and not is_first:
            slope = 0.8 * slope + 0.01 * float(np.sign(BASE_M - y))
            if index > START_PAD:
                slope += rng.uniform(-1.0, 1.0) * NOISE_M
            y = min(max(y + slope, 1.5), 5.5)
        elif state == "pit" and is_first:
            width = int(rng.integers(2, 4))
            blocks += [_block(x, y, 1, -3.0), _block(x + width * STEP_M, y, 1, -3.0)]
            counter, edge_y = width + 2, y
        elif state == "pit":
            y = edge_y - (3 * STEP_M if counter > 1 else 0.0)
        elif state == "stump" and is_first:
            width = int(rng.integers(2, 4))
            blocks.append(_block(x, y, width, 0.75 * width))
            counter = width
        is_first = False
        heights.append(y)
        counter -= 1
        if counter == 0:
            counter, is_first = int(rng.integers(5, 10)), True
            state = ("stump", "pit")[int(rng.integers(2))] if state == "grass" else "grass"
    return heights, blocks


def _block(x: float, y: float, width_steps: int, height_steps: float) -> Block:
    right, end = x + width_steps * STEP_M, y + height_steps * STEP_M
    return [(x, y), (right, y), (right, end), (x, end)]


_MAKERS: dict[str, Callable[[np.random.Generator], tuple[list[float], list[Block]]]] = {
    "flat": _flat,
    "uneven": lambda rng: _rolling(rng, damping=0.8, pull=0.011, noise=1.0),
    "rugged": lambda rng: _rolling(rng, damping=0.75, pull=0.015, noise=2.25),
    "hills": _hills,
    "obstacles": _obstacles,
}
TERRAINS = tuple(_MAKERS)
