"""The runner of the side-scrollers: how it jumps, falls and moves its limbs."""

import pygame

GROUND_PX = 184
STANDING_PX = 154
"""Top edge of the runner's box when it stands."""
RUNNER_LEFT_PX, RUNNER_WIDTH_PX, RUNNER_HEIGHT_PX = 40, 18, 30
SCROLL_PX = 10
JUMP_PX = 12.0
GRAVITY_PX = 1.0
NUM_PEBBLES = 10
_NEARLY_PX = 0.001
_POSE_STEPS = 6

Segment = tuple[tuple[int, int], tuple[int, int]]


def is_standing(y: float) -> bool:
    """Tell whether a top edge is that of a standing runner."""
    return y >= STANDING_PX - _NEARLY_PX


def jump(y: float, velocity_y: float, push: float) -> tuple[float, float, bool]:
    """Jump if pushed on the ground, then fall for one step.

    Returns:
        Top edge, its speed, and whether the ground stopped the fall.
    """
    if push > 0 and is_standing(y):
        velocity_y = -JUMP_PX * push
    velocity_y += GRAVITY_PX
    y += velocity_y
    if y > STANDING_PX:
        return float(STANDING_PX), 0.0, True
    return y, velocity_y, False


def runner_box(y: float) -> pygame.Rect:
    """Return the runner's box in pixels."""
    return pygame.Rect(RUNNER_LEFT_PX, int(y), RUNNER_WIDTH_PX, RUNNER_HEIGHT_PX)


def next_pose(pose_timer: int, pose: int) -> tuple[int, int]:
    """Count one step of running; every sixth one changes the pose of the limbs."""
    pose_timer += 1
    return pose_timer, 1 - pose if pose_timer % _POSE_STEPS == 0 else pose


def draw_limbs(canvas: pygame.Surface, y: int, limbs: tuple[Segment, ...]) -> None:
    """Draw black limbs, given relative to the runner's top left corner."""
    for (x1, y1), (x2, y2) in limbs:
        start = (RUNNER_LEFT_PX + x1, y + y1)
        pygame.draw.line(canvas, (0, 0, 0), start, (RUNNER_LEFT_PX + x2, y + y2), 2)
