"""A dot in a box; the last action and the last reward are painted under the box.

Layout of the 224-pixel frame: the box takes rows 0 to 167; below it lie three panels, one for each
action lane (red, green) and one for the reward (blue). A panel's brightness in its own colour
channel is the value, and nothing else is drawn there, so the values can be read back after
resampling. After a reset the panels show zero.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

NATIVE_PX = 224
BOX_HEIGHT_PX = 168
PANEL_EDGES_PX = (0, 75, 149, 224)
"""Left and right ends of the three panels: action 0, action 1, reward."""
DOT_RADIUS_PX = 8
SPEED_PX = 6.0
"""Dot displacement per step at full action."""
GRAVITY_PX = 0.4
THRUST_PX = 0.9
"""Velocity change per step at full action when falling."""
TARGET_RADIUS_PX = 10
ORBIT_STEPS = 60
"""Steps that the target takes around its circle."""

_ROWS, _COLUMNS = np.mgrid[0:BOX_HEIGHT_PX, 0:NATIVE_PX]


@dataclass(kw_only=True, slots=True)
class PaintState:
    """Everything that changes."""

    steps: int
    x: float
    y: float
    velocity_x: float
    velocity_y: float
    orbit_phase: float
    last_action: tuple[float, float]
    last_reward: float
    is_over: bool


class PaintGame:
    """Chase a target (``toy-paint``) or stay in the air (``toy-fall``). Both paint."""

    def __init__(self, *, falls: bool) -> None:
        """Make the game; ``falls`` turns gravity on and the target off."""
        self._falls = falls
        self.state = self._start(112.0, 60.0, 0.0)

    def reset(self, rng: np.random.Generator) -> None:
        """Place the dot and the target at random."""
        low, high = float(DOT_RADIUS_PX), float(NATIVE_PX - DOT_RADIUS_PX)
        x = rng.uniform(low, high)
        y = rng.uniform(low, BOX_HEIGHT_PX / 2)
        self.state = self._start(x, y, rng.uniform(0.0, 2 * math.pi))

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Move the dot. Pays closeness to the target, or 1 in the air and -1 on landing."""
        state = self.state
        right, down = float(action[0]), float(action[1])
        if self._falls:
            state.velocity_x = 0.9 * state.velocity_x + THRUST_PX * right + rng.normal(0.0, 0.2)
            state.velocity_y = 0.9 * state.velocity_y + THRUST_PX * down + GRAVITY_PX
        else:
            state.velocity_x = SPEED_PX * right + rng.normal(0.0, 0.3)
            state.velocity_y = SPEED_PX * down + rng.normal(0.0, 0.3)
        low, right_end = float(DOT_RADIUS_PX), float(NATIVE_PX - DOT_RADIUS_PX)
        floor = float(BOX_HEIGHT_PX - DOT_RADIUS_PX)
        state.x = min(max(state.x + state.velocity_x, low), right_end)
        state.y = min(max(state.y + state.velocity_y, low), floor)
        state.steps += 1
        state.is_over = self._falls and state.y >= floor
        reward = (-1.0 if state.is_over else 1.0) if self._falls else self._closeness()
        state.last_action, state.last_reward = (right, down), reward
        return reward

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the box and the panels."""
        state = self.state
        frame = np.zeros((NATIVE_PX, NATIVE_PX, 3), dtype=np.uint8)
        box = frame[:BOX_HEIGHT_PX]
        box[:] = (28, 30, 44)
        if not self._falls:
            _paint_disk(box, *self.target(), TARGET_RADIUS_PX, (80, 220, 120))
        _paint_disk(box, state.x, state.y, DOT_RADIUS_PX, (255, 190, 90))
        for channel, value in enumerate((*state.last_action, state.last_reward)):
            left, right = PANEL_EDGES_PX[channel], PANEL_EDGES_PX[channel + 1]
            frame[BOX_HEIGHT_PX:, left:right, channel] = round(127.5 + 127.5 * value)
        return frame

    def target(self) -> tuple[float, float]:
        """Return the centre of the circling target."""
        angle = self.state.orbit_phase + 2 * math.pi * self.state.steps / ORBIT_STEPS
        return 112.0 + 70.0 * math.cos(angle), 84.0 + 50.0 * math.sin(angle)

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return dot, velocity and target, each divided by its size."""
        state = self.state
        target_x, target_y = self.target()
        values = (state.x, state.y, target_x, target_y)
        speeds = (state.velocity_x / SPEED_PX, state.velocity_y / SPEED_PX)
        return np.array([value / NATIVE_PX for value in values] + list(speeds), dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return the mean closeness, or the part of the time spent in the air."""
        if self._falls:
            return min((self.state.steps - self.state.is_over) / 100, 1.0)
        return min(max(total_reward / 100, 0.0), 1.0)

    def is_success(self) -> bool:
        """Tell whether the dot is on the target, or in the air."""
        return not self.state.is_over if self._falls else self._closeness() > 0.9

    def is_over(self) -> bool:
        """Tell whether the dot has landed."""
        return self.state.is_over

    def _closeness(self) -> float:
        target_x, target_y = self.target()
        return 1.0 - min(math.hypot(self.state.x - target_x, self.state.y - target_y) / 200, 1.0)

    def _start(self, x: float, y: float, orbit_phase: float) -> PaintState:
        return PaintState(
            steps=0,
            x=x,
            y=y,
            velocity_x=0.0,
            velocity_y=0.0,
            orbit_phase=orbit_phase,
            last_action=(0.0, 0.0),
            last_reward=0.0,
            is_over=False,
        )


def decode_frame(
    frame: UInt8[np.ndarray, "h w 3"],
) -> tuple[Float32[np.ndarray, " a"], float]:
    """Read the action and the reward that led to a frame; exact to 1/127 at any size >= 16.

    Returns:
        The action (2 lanes) and the reward, both zero on the first frame of an episode.
    """
    height, width = frame.shape[:2]
    # Half of each panel is left out at its borders: resampling mixes the neighbours there.
    top = (BOX_HEIGHT_PX + NATIVE_PX) // 2 * height // NATIVE_PX
    values: list[float] = []
    for channel in range(3):
        left, right = PANEL_EDGES_PX[channel], PANEL_EDGES_PX[channel + 1]
        column = (left + right) // 2 * width // NATIVE_PX
        values.append((float(frame[top, column, channel]) - 127.5) / 127.5)
    # A value of zero is stored as byte 128: half a byte above the middle.
    red, green, blue = (0.0 if abs(value) < 1 / 254 else value for value in values)
    return np.array([red, green], dtype=np.float32), blue


def _paint_disk(
    image: UInt8[np.ndarray, "h w 3"],
    x: float,
    y: float,
    radius_px: int,
    color: tuple[int, int, int],
) -> None:
    top, left = max(int(y) - radius_px - 1, 0), max(int(x) - radius_px - 1, 0)
    window = np.s_[top : int(y) + radius_px + 2, left : int(x) + radius_px + 2]
    inside = (_ROWS[window] - y) ** 2 + (_COLUMNS[window] - x) ** 2 <= radius_px**2
    image[window][inside] = color
