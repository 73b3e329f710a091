"""Reacher: bring the tip of a two-link arm onto a red target by two torques."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pygame
from jaxtyping import Bool, Float32, UInt8

from reverie.envs.domains.miniarcade.canvas import (
    CANVAS_PX,
    StaticLayer,
    new_canvas,
    new_layer,
    to_frame,
)

LINK_M = 0.11
ELBOW_LIMIT_RAD = math.radians(160)
TIME_STEP_S = np.float32(0.02)
TORQUE_GAIN = np.array([90, 180], dtype=np.float32)
LINEAR_DRAG = np.array([4, 38], dtype=np.float32)
QUADRATIC_DRAG = np.array([1.2, 0.05], dtype=np.float32)
SPEED_LIMIT = 30.0
"""Rad/s, both joints."""
TARGET_RADIUS_M = {"easy": 0.04, "hard": 0.025}
TARGET_RADIUS_PX = {"easy": 15, "hard": 9}
PX_PER_M = 376.3636
TRAIL_LENGTH = 10
TIP_RADIUS_PX = 3


@dataclass(kw_only=True, slots=True)
class ReacherState:
    """Everything that changes. Metres and radians, y points up; the trail is in pixels."""

    steps: int
    angles: tuple[float, float]
    """Shoulder (free) and elbow (limited), radians."""
    velocities: tuple[float, float]
    """Rad/s; single precision."""
    target: tuple[float, float]
    trail: list[tuple[int, int]]
    """Tip at the last drawn frames; it advances when a frame is drawn."""


class Reacher:
    """The game, with a large target (``easy``) or a small one (``hard``)."""

    def __init__(self, variant: str) -> None:
        """Choose the target's size."""
        self._target_m = TARGET_RADIUS_M[variant]
        self._target_px = TARGET_RADIUS_PX[variant]
        self._background = StaticLayer(_paint_background)
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the pose of the resting arm and the target."""
        shoulder = float(rng.uniform(-math.pi, math.pi))
        elbow = float(rng.uniform(-ELBOW_LIMIT_RAD, ELBOW_LIMIT_RAD))
        angle, radius = float(rng.uniform(0.0, 2 * math.pi)), float(rng.uniform(0.05, 0.20))
        # Differs from the release: there the trail outlives a reset. Here an episode depends on
        # its seed alone.
        self.state = ReacherState(
            steps=0,
            angles=(shoulder, elbow),
            velocities=(0.0, 0.0),
            target=(radius * math.cos(angle), radius * math.sin(angle)),
            trail=[],
        )

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Integrate torques against linear and quadratic drag; 1 is paid on the target."""
        state = self.state
        speed = np.array(state.velocities, dtype=np.float32)
        drag = LINEAR_DRAG * speed + QUADRATIC_DRAG * np.abs(speed) * speed
        speed = speed + TIME_STEP_S * (TORQUE_GAIN * action - drag)
        speed = np.clip(speed, -SPEED_LIMIT, SPEED_LIMIT)
        moved = np.array(state.angles, dtype=np.float32) + TIME_STEP_S * speed
        shoulder, elbow, elbow_speed = float(moved[0]), float(moved[1]), float(speed[1])
        if abs(elbow) > ELBOW_LIMIT_RAD:
            elbow, elbow_speed = math.copysign(ELBOW_LIMIT_RAD, elbow), 0.0
        state.angles = (shoulder, elbow)
        state.velocities = (float(speed[0]), elbow_speed)
        state.steps += 1
        return float(self.is_on_target())

    def elbow_and_tip(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the places of the elbow and of the tip, in metres."""
        shoulder, elbow = self.state.angles
        x, y = LINK_M * math.cos(shoulder), LINK_M * math.sin(shoulder)
        whole = shoulder + elbow
        return (x, y), (x + LINK_M * math.cos(whole), y + LINK_M * math.sin(whole))

    def is_on_target(self) -> bool:
        """Tell whether the tip is within the target."""
        return math.dist(self.elbow_and_tip()[1], self.state.target) <= self._target_m

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return both angles, the way from tip to target, both velocities."""
        state = self.state
        tip = self.elbow_and_tip()[1]
        way = (state.target[0] - tip[0], state.target[1] - tip[1])
        return np.array([*state.angles, *way, *state.velocities], dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return the part of the time spent on the target."""
        return min(max(total_reward / 200, 0.0), 1.0)

    def is_success(self) -> bool:
        """Return False: the benchmark defines no success here."""
        return False

    def is_over(self) -> bool:
        """Return False: the game ends by its time limit only."""
        return False

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw target and arm; the tip leaves a trail of glowing dots."""
        state = self.state
        canvas = new_canvas()
        self._background.show(canvas, None)
        target, root = _to_px(state.target), _to_px((0.0, 0.0))
        pygame.draw.circle(canvas, (210, 70, 60), target, self._target_px)
        pygame.draw.circle(canvas, (220, 80, 70), target, self._target_px, 3)
        elbow, tip = (_to_px(point) for point in self.elbow_and_tip())
        pygame.draw.line(canvas, (180, 180, 180), root, elbow, 6)
        pygame.draw.line(canvas, (255, 140, 0), elbow, tip, 6)
        pygame.draw.circle(canvas, (160, 160, 160), root, 4)
        pygame.draw.circle(canvas, (255, 200, 120), elbow, 4)
        state.trail = [*state.trail[1 - TRAIL_LENGTH :], tip]
        frame = to_frame(canvas)
        for index, place in enumerate(state.trail):
            spot = _spot(frame, place)
            kept = 1 - (12 + 12 * index) / 255
            spot[_disk()] = np.minimum(255, 220 + spot[_disk()] * kept).astype(np.uint8)
        _spot(frame, tip)[_disk()] = (230, 230, 230)
        return frame


def make_game(variant: str) -> Reacher:
    """Make ``"easy"`` or ``"hard"``."""
    return Reacher(variant)


def _to_px(point: tuple[float, float]) -> tuple[int, int]:
    centre = CANVAS_PX // 2
    return int(centre + PX_PER_M * point[0]), int(centre - PX_PER_M * point[1])


def _spot(
    frame: UInt8[np.ndarray, "h w 3"], place: tuple[int, int]
) -> UInt8[np.ndarray, "side side 3"]:
    # The arm reaches 83 pixels from the centre: the square is always inside the frame.
    x, y = place[0] - TIP_RADIUS_PX, place[1] - TIP_RADIUS_PX
    side = 2 * TIP_RADIUS_PX + 1
    return frame[y : y + side, x : x + side]


@cache
def _disk() -> Bool[np.ndarray, "side side"]:
    side = 2 * TIP_RADIUS_PX + 1
    picture = pygame.Surface((side, side), 0, 32)
    pygame.draw.circle(picture, (255, 255, 255), (TIP_RADIUS_PX, TIP_RADIUS_PX), TIP_RADIUS_PX)
    return to_frame(picture)[:, :, 0] > 0


def _paint_background(canvas: pygame.Surface, key: None) -> None:
    first, middle, last = (120, 160, 160), (115, 95, 165), (160, 90, 130)
    for row in range(CANVAS_PX):
        for column in range(CANVAS_PX):
            t = (column / (CANVAS_PX - 1) + row / (CANVAS_PX - 1)) / 2
            low, high = (first, middle) if t <= 0.5 else (middle, last)
            part = 2 * t if t <= 0.5 else 2 * t - 1
            pairs = zip(low, high, strict=True)
            red, green, blue = (int(near + (far - near) * part) for near, far in pairs)
            canvas.set_at((column, row), (red, green, blue))
    panel = new_layer(184, 184)
    pygame.draw.rect(panel, (0, 0, 0, 30), (0, 0, 184, 184), border_radius=14)
    canvas.blit(panel, (20, 20))
    pygame.draw.rect(canvas, (60, 220, 255), (20, 20, 184, 184), 2, border_radius=14)
    pygame.draw.rect(canvas, (255, 70, 200), (23, 23, 178, 178), 1, border_radius=12)
