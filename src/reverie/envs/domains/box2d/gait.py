"""A gait of three phases for the bipedal walker, decided 25 times a second.

The idea is that of gymnasium's own heuristic (carry on one leg, put the other down, push off),
which decides 50 times a second and falls where an action lasts two simulation steps. The numbers
were found by a cross-entropy search on our grounds; see docs/log.md.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

SPEED_SCALE = 0.3 * (224 / 15) / 50
"""The library's observation of a speed of 1 m/s, seen through our window."""
HULL_ANGLE, HULL_TURN, FORWARD, UPWARD = 0, 1, 2, 3
LEGS = (4, 9)
"""Where the values of each leg begin: hip, its speed, knee, its speed, contact."""

Phase = Literal["carry", "land", "push"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GaitConfig:
    """Angles in radians as the library observes them (knees plus one), gains per radian."""

    speed: float
    """Metres per second; above it the carrying knee stretches twice as fast, and well above it the
    push ends."""
    swing_hip: float
    swing_knee: float
    """Where the free leg is swung to."""
    land_hip: float
    land_knee: float
    """Where it is put down; the second is also as far as a carrying knee stretches."""
    behind: float
    """Hip angle at which the carrying leg is far enough behind to put the other down."""
    push_knee: float
    """Where the rear knee is stretched to."""
    push_until: float
    """Knee angle that ends the push."""
    overspeed: float
    """Part of ``speed`` that ends the push too."""
    stretch: float
    """Radians per decision by which a carrying knee stretches."""
    hip_gain: float
    hip_damping: float
    knee_gain: float
    knee_damping: float
    level_gain: float
    level_damping: float
    """Torque of both hips against the hull's angle and turning."""
    bounce_damping: float
    """Torque of both knees against the hull's vertical speed."""


WALK = GaitConfig(
    speed=0.965,
    swing_hip=1.148,
    swing_knee=-0.639,
    land_hip=0.076,
    land_knee=0.115,
    behind=0.141,
    push_knee=0.925,
    push_until=0.643,
    overspeed=0.884,
    stretch=0.022,
    hip_gain=0.366,
    hip_damping=0.075,
    knee_gain=1.922,
    knee_damping=0.155,
    level_gain=0.285,
    level_damping=1.935,
    bounce_damping=5.852,
)
"""Walks at about 2 m/s; stays up on flat ground, and on uneven ground about every second time."""


class Gait:
    """One walk; remembers which phase it is in, and on which leg."""

    def __init__(self, config: GaitConfig) -> None:
        """Start on the second leg."""
        self._config = config
        self._phase: Phase = "carry"
        self._free = 0
        self._carrying_knee = config.land_knee

    def act(self, state: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, " a"]:
        """Return the torques of hip and knee of both legs, in [-1, 1].

        Args:
            state: The library's observation; only the first 14 values are looked at.
        """
        config = self._config
        hips, knees = self._targets(state)
        level = config.level_gain * state[HULL_ANGLE] + config.level_damping * state[HULL_TURN]
        bounce = config.bounce_damping * state[UPWARD]
        torques: list[float] = []
        for leg, base in enumerate(LEGS):
            hip, knee = level, -bounce
            if leg in hips:
                hip += config.hip_gain * (hips[leg] - state[base])
                hip -= config.hip_damping * state[base + 1]
            if leg in knees:
                knee += config.knee_gain * (knees[leg] - state[base + 2])
                knee -= config.knee_damping * state[base + 3]
            torques += [float(hip), float(knee)]
        return np.clip(torques, -1.0, 1.0).astype(np.float32)

    def _targets(
        self, state: Float32[np.ndarray, " n"]
    ) -> tuple[dict[int, float], dict[int, float]]:
        """Move on through the phases; return the angles that hips and knees should take."""
        config, free, carrying = self._config, self._free, 1 - self._free
        speed = float(state[FORWARD]) / SPEED_SCALE
        hips: dict[int, float] = {}
        knees: dict[int, float] = {}
        if self._phase == "carry":
            hips[free], knees[free] = config.swing_hip, config.swing_knee
            stretch = config.stretch * (2.0 if speed > config.speed else 1.0)
            self._carrying_knee = min(self._carrying_knee + stretch, config.land_knee)
            knees[carrying] = self._carrying_knee
            if state[LEGS[carrying]] < config.behind:
                self._phase = "land"
        if self._phase == "land":
            hips[free], knees[free] = config.land_hip, config.land_knee
            knees[carrying] = self._carrying_knee
            if state[LEGS[free] + 4] > 0:
                self._phase = "push"
                self._carrying_knee = min(float(state[LEGS[free] + 2]), config.land_knee)
        if self._phase == "push":
            knees[free], knees[carrying] = self._carrying_knee, config.push_knee
            is_stretched = state[LEGS[carrying] + 2] > config.push_until
            if is_stretched or speed > config.overspeed * config.speed:
                self._phase, self._free = "carry", carrying
        return hips, knees
