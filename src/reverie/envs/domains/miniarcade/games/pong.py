"""Pong against a paddle that reacts late and moves at a limited speed."""

import math
from dataclasses import dataclass

import numpy as np
import pygame
from jaxtyping import Float32, UInt8

from reverie.envs.domains.miniarcade.canvas import CANVAS_PX, bold_text, new_canvas, to_frame

AREA_LOW_PX, AREA_SIDE_PX = 20, 184
AREA_HIGH_PX = AREA_LOW_PX + AREA_SIDE_PX
PADDLE_WIDTH_PX, PADDLE_HEIGHT_PX = 6, 40
AGENT_LEFT_PX, OPPONENT_LEFT_PX = 30, 188
PADDLE_SPEED_PX = 8.5
BALL_PX = 7
BALL_SPEED_PX = 8.0
HIGHEST_PADDLE_PX, LOWEST_PADDLE_PX = 20.0, 164.0
ZONE = 0.3
"""The opponent cares about the ball right of this part of the area."""

_ORANGE, _GREY, _WHITE = (255, 140, 0), (180, 180, 180), (255, 255, 255)
_FONT_PX = 20


@dataclass(kw_only=True, slots=True)
class PongState:
    """Everything that changes. Pixels and pixels per step; y points down."""

    steps: int
    ball: tuple[float, float, float, float]
    """Centre x, y and velocity x, y."""
    agent_y: float
    """Top of the agent's paddle."""
    opponent_y: float
    reaction_delay: int
    """Steps until the opponent starts to move."""
    is_in_zone: bool
    scores: tuple[int, int]
    """Points of the agent and of the opponent."""


class Pong:
    """The game. Paddle speed is the action; a point pays 1 or costs 1."""

    def __init__(self) -> None:
        """Serve for the first time."""
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Centre the paddles, clear the points and serve."""
        # Differs from the release: there the opponent's reaction outlives a reset. Here an episode
        # depends on its seed alone.
        self.state = PongState(
            steps=0,
            ball=_serve(rng),
            agent_y=92.0,
            opponent_y=92.0,
            reaction_delay=0,
            is_in_zone=False,
            scores=(0, 0),
        )

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Move the paddles, then the ball; serve anew after a point."""
        state = self.state
        state.agent_y = _on_court(state.agent_y + PADDLE_SPEED_PX * float(action[0]))
        self._move_opponent(rng)
        x, y, velocity_x, velocity_y = state.ball
        x, y = x + velocity_x, y + velocity_y
        if y - BALL_PX < AREA_LOW_PX or y + BALL_PX > AREA_HIGH_PX:
            velocity_y = -velocity_y
        ball = pygame.Rect(int(x - BALL_PX / 2), int(y - BALL_PX / 2), BALL_PX, BALL_PX)
        if velocity_x < 0 and ball.colliderect(_paddle(AGENT_LEFT_PX, state.agent_y)):
            velocity_x = -velocity_x
        elif velocity_x > 0 and ball.colliderect(_paddle(OPPONENT_LEFT_PX, state.opponent_y)):
            velocity_x = -velocity_x
        state.ball = (x, y, velocity_x, velocity_y)
        state.steps += 1
        return self._settle_point(rng)

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return ball place and velocity and both paddles, scaled to about 1."""
        x, y, velocity_x, velocity_y = self.state.ball
        places = (x / CANVAS_PX, y / CANVAS_PX)
        speeds = (velocity_x / BALL_SPEED_PX, velocity_y / BALL_SPEED_PX)
        paddles = (self.state.agent_y / CANVAS_PX, self.state.opponent_y / CANVAS_PX)
        return np.array([*places, *speeds, *paddles], dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return 0 for three points behind, 1 for three points ahead."""
        return min(max((total_reward + 3) / 6, 0.0), 1.0)

    def is_success(self) -> bool:
        """Return False: the benchmark defines no success here."""
        return False

    def is_over(self) -> bool:
        """Return False: the game ends by its time limit only."""
        return False

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw court, paddles, ball and points."""
        state = self.state
        canvas = new_canvas()
        court = (AREA_LOW_PX, AREA_LOW_PX, AREA_SIDE_PX, AREA_SIDE_PX)
        pygame.draw.rect(canvas, _WHITE, court, 2)
        pygame.draw.rect(canvas, _ORANGE, _paddle(AGENT_LEFT_PX, state.agent_y))
        pygame.draw.rect(canvas, _GREY, _paddle(OPPONENT_LEFT_PX, state.opponent_y))
        x, y, _, _ = state.ball
        corner = (int(x - BALL_PX / 2), int(y - BALL_PX / 2))
        pygame.draw.rect(canvas, _WHITE, (*corner, BALL_PX, BALL_PX))
        own, other = state.scores
        canvas.blit(bold_text(str(own), _FONT_PX, _ORANGE), (36, -2))
        text = bold_text(str(other), _FONT_PX, _GREY)
        canvas.blit(text, (OPPONENT_LEFT_PX - text.get_width(), -2))
        return to_frame(canvas)

    def _move_opponent(self, rng: np.random.Generator) -> None:
        state = self.state
        x, y, _, _ = state.ball
        progress = (x - AREA_LOW_PX) / AREA_SIDE_PX
        if progress <= ZONE:
            state.is_in_zone = False
            return
        if not state.is_in_zone:
            state.is_in_zone = True
            state.reaction_delay = int(rng.integers(2, 6, endpoint=True))
        if state.reaction_delay > 0:
            state.reaction_delay -= 1
            return
        eagerness = 0.5 + 0.35 * min(max((progress - ZONE) / 0.65, 0.0), 1.0)
        direction = 1.0 if y - PADDLE_HEIGHT_PX / 2 > state.opponent_y else -1.0
        state.opponent_y = _on_court(state.opponent_y + direction * PADDLE_SPEED_PX * eagerness)

    def _settle_point(self, rng: np.random.Generator) -> float:
        state = self.state
        own, other = state.scores
        if state.ball[0] < AREA_LOW_PX:
            state.scores, state.ball = (own, other + 1), _serve(rng)
            return -1.0
        if state.ball[0] > AREA_HIGH_PX:
            state.scores, state.ball = (own + 1, other), _serve(rng)
            return 1.0
        return 0.0


def make_game(variant: str) -> Pong:
    """Make the game; it has no variants."""
    if variant:
        raise ValueError(f"Pong has no variants, got '{variant}'.")
    return Pong()


def _serve(rng: np.random.Generator) -> tuple[float, float, float, float]:
    angle = float(rng.uniform(-0.5, 0.5)) * math.pi
    side = float(rng.choice((-1.0, 1.0)))
    centre = CANVAS_PX / 2
    return centre, centre, side * BALL_SPEED_PX * math.cos(angle), BALL_SPEED_PX * math.sin(angle)


def _paddle(left: int, top: float) -> pygame.Rect:
    return pygame.Rect(left, int(top), PADDLE_WIDTH_PX, PADDLE_HEIGHT_PX)


def _on_court(top: float) -> float:
    return min(max(top, HIGHEST_PADDLE_PX), LOWEST_PADDLE_PX)
