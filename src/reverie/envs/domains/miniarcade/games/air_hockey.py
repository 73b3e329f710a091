"""Air hockey against a mallet that reacts late."""

import math
from dataclasses import dataclass

import numpy as np
import pygame
from jaxtyping import Float32, UInt8

from reverie.envs.domains.miniarcade.canvas import (
    CANVAS_PX,
    StaticLayer,
    bold_text,
    new_canvas,
    to_frame,
)
from reverie.envs.domains.miniarcade.effects import unit

RINK = (33, 24, 158, 176)
MOUTH_LEFT_PX, MOUTH_RIGHT_PX = 84.0, 140.0
PUCK_RADIUS_PX, MALLET_RADIUS_PX = 6, 10
MALLET_SPEED_PX, OPPONENT_SPEED_PX = 7.5, 6.375
LAUNCH_SPEED_PX, MAX_SPEED_PX = 6.0, 12.0
BOUNCE, SLOWING, BOOST = 0.9, 0.998, 0.35
LOW_X_PX, HIGH_X_PX = 43.0, 181.0
"""Where mallets may be."""
OWN_HALF_PX, OTHER_HALF_PX = (122.0, 190.0), (34.0, 102.0)
AGENT_START, OPPONENT_START, OPPONENT_HOME = (112.0, 170.0), (112.0, 54.0), (112.0, 52.0)

_ORANGE, _GREY, _WHITE = (255, 140, 0), (180, 180, 180), (255, 255, 255)
_FONT_PX = 20

Body = tuple[float, float, float, float]
"""Place and velocity."""


@dataclass(kw_only=True, slots=True)
class AirHockeyState:
    """Everything that changes. Pixels and pixels per step; y points down."""

    steps: int
    puck: Body
    agent: Body
    opponent: Body
    reaction_delay: int
    is_in_zone: bool
    scores: tuple[int, int]
    """Goals of the agent and of the opponent."""


class AirHockey:
    """The game. A goal pays 1 or costs 1."""

    def __init__(self) -> None:
        """Launch the puck for the first time."""
        self._rink = StaticLayer(_paint_rink)
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Put the mallets in place and launch the puck, up or down."""
        self.state = AirHockeyState(
            steps=0,
            puck=_launch(rng, down=1 if rng.random() < 0.5 else -1),
            agent=(*AGENT_START, 0.0, 0.0),
            opponent=(*OPPONENT_START, 0.0, 0.0),
            reaction_delay=0,
            is_in_zone=False,
            scores=(0, 0),
        )

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Move the mallets, then the puck; settle hits, walls and goals."""
        state = self.state
        velocity = (MALLET_SPEED_PX * float(action[0]), MALLET_SPEED_PX * float(action[1]))
        state.agent = _moved(state.agent, velocity, OWN_HALF_PX)
        self._move_opponent(rng)
        x, y, velocity_x, velocity_y = state.puck
        puck = (x + velocity_x, y + velocity_y, velocity_x, velocity_y)
        puck = _hit(_hit(puck, state.agent), state.opponent)
        reward = self._settle(puck, rng)
        state.steps += 1
        return reward

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return place and velocity of puck, agent and opponent."""
        state = self.state
        values: list[float] = []
        for (x, y, velocity_x, velocity_y), speed in (
            (state.puck, MAX_SPEED_PX),
            (state.agent, MALLET_SPEED_PX),
            (state.opponent, MALLET_SPEED_PX),
        ):
            values += [x / CANVAS_PX, y / CANVAS_PX, velocity_x / speed, velocity_y / speed]
        return np.array(values, dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return the lead as a part of 10 goals."""
        return min(max(total_reward / 10, 0.0), 1.0)

    def is_success(self) -> bool:
        """Return False: the benchmark defines no success here."""
        return False

    def is_over(self) -> bool:
        """Return False: the game ends by its time limit only."""
        return False

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw rink, puck, mallets and goals scored."""
        state = self.state
        canvas = new_canvas()
        self._rink.show(canvas, None)
        for (x, y, _, _), color, radius in (
            (state.puck, _WHITE, PUCK_RADIUS_PX),
            (state.agent, _ORANGE, MALLET_RADIUS_PX),
            (state.opponent, _GREY, MALLET_RADIUS_PX),
        ):
            pygame.draw.circle(canvas, color, (int(x), int(y)), radius)
        own, other = state.scores
        text = bold_text(str(other), _FONT_PX, _GREY)
        left, height = CANVAS_PX // 2 - text.get_width() // 2, text.get_height()
        canvas.blit(text, (left, max(2, (24 - height) // 2)))
        text = bold_text(str(own), _FONT_PX, _ORANGE)
        left, height = CANVAS_PX // 2 - text.get_width() // 2, text.get_height()
        canvas.blit(text, (left, min(CANVAS_PX - height - 2, 200 + (24 - height) // 2)))
        return to_frame(canvas)

    def _move_opponent(self, rng: np.random.Generator) -> None:
        state = self.state
        x, y, _, _ = state.opponent
        target = self._opponent_target(rng)
        offset = (target[0] - x, target[1] - y)
        distance = math.hypot(*offset)
        velocity = (0.0, 0.0)
        if distance > 1e-5:
            speed = min(OPPONENT_SPEED_PX, distance)
            right, down = unit(*offset)
            noise = (float(rng.normal(0.0, 0.25)), float(rng.normal(0.0, 0.25)))
            velocity = (speed * right + noise[0], speed * down + noise[1])
        state.opponent = _moved(state.opponent, velocity, OTHER_HALF_PX)

    def _opponent_target(self, rng: np.random.Generator) -> tuple[float, float]:
        state = self.state
        x, y, velocity_x, velocity_y = state.puck
        if y >= 120 or velocity_y >= 0:
            state.is_in_zone = False
            return OPPONENT_HOME
        if not state.is_in_zone:
            state.is_in_zone = True
            haste = min(max((math.hypot(velocity_x, velocity_y) - 2) / 8, 0.0), 1.0)
            low, high = int(5 - 4 * haste), int(10 - 6 * haste)
            state.reaction_delay = int(rng.integers(low, high, endpoint=True))
        if state.reaction_delay > 0:
            state.reaction_delay -= 1
            return OPPONENT_HOME
        return min(max(x, LOW_X_PX), HIGH_X_PX), min(y + 12, 83.0)

    def _settle(self, puck: Body, rng: np.random.Generator) -> float:
        state = self.state
        x, y, velocity_x, velocity_y = puck
        if not 39 <= x <= 185:
            x, velocity_x = min(max(x, 39.0), 185.0), -BOUNCE * velocity_x
        is_in_mouth = MOUTH_LEFT_PX <= x <= MOUTH_RIGHT_PX
        if is_in_mouth and (y <= 14 or y >= 210):
            return self._restart(rng, is_own_goal=y >= 210)
        if not is_in_mouth and not 30 <= y <= 194:
            y, velocity_y = min(max(y, 30.0), 194.0), -BOUNCE * velocity_y
        speed = SLOWING * math.hypot(velocity_x, velocity_y)
        factor = SLOWING * min(1.0, MAX_SPEED_PX / max(speed, 1e-9))
        state.puck = (x, y, factor * velocity_x, factor * velocity_y)
        return 0.0

    def _restart(self, rng: np.random.Generator, *, is_own_goal: bool) -> float:
        state = self.state
        own, other = state.scores
        state.scores = (own, other + 1) if is_own_goal else (own + 1, other)
        state.agent, state.opponent = (*AGENT_START, 0.0, 0.0), (*OPPONENT_START, 0.0, 0.0)
        x, y, velocity_x, velocity_y = _launch(rng, down=1 if is_own_goal else -1)
        state.puck = (x, y, SLOWING * velocity_x, SLOWING * velocity_y)
        return -1.0 if is_own_goal else 1.0


def make_game(variant: str) -> AirHockey:
    """Make the game; it has no variants."""
    if variant:
        raise ValueError(f"Air hockey has no variants, got '{variant}'.")
    return AirHockey()


def _launch(rng: np.random.Generator, *, down: int) -> Body:
    angle = float(rng.uniform(-0.35, 0.35)) * math.pi
    side = float(rng.choice((-1.0, 1.0)))
    velocity_x = side * LAUNCH_SPEED_PX * math.cos(angle)
    return 112.0, 112.0, velocity_x, down * LAUNCH_SPEED_PX * abs(0.7 * math.sin(angle) + 0.3)


def _moved(mallet: Body, velocity: tuple[float, float], half: tuple[float, float]) -> Body:
    x = min(max(mallet[0] + velocity[0], LOW_X_PX), HIGH_X_PX)
    return x, min(max(mallet[1] + velocity[1], half[0]), half[1]), *velocity


def _hit(puck: Body, mallet: Body) -> Body:
    x, y, velocity_x, velocity_y = puck
    right, down = unit(x - mallet[0], y - mallet[1])
    overlap = PUCK_RADIUS_PX + MALLET_RADIUS_PX - math.hypot(x - mallet[0], y - mallet[1])
    if overlap <= 0:
        return puck
    x, y = x + right * (overlap + 0.5), y + down * (overlap + 0.5)
    approach = (velocity_x - mallet[2]) * right + (velocity_y - mallet[3]) * down
    if approach < 0:
        velocity_x += BOOST * mallet[2] - (1 + BOUNCE) * approach * right
        velocity_y += BOOST * mallet[3] - (1 + BOUNCE) * approach * down
    return x, y, velocity_x, velocity_y


def _paint_rink(canvas: pygame.Surface, key: None) -> None:
    pygame.draw.rect(canvas, (200, 200, 200), RINK, 2)
    for top in (22, 198):
        pygame.draw.rect(canvas, (0, 0, 0), (int(MOUTH_LEFT_PX), top, 56, 8))
    pygame.draw.line(canvas, (80, 80, 80), (33, 112), (191, 112), 2)
