"""Chase-evade: two players in a round arena; whoever is caught becomes the chaser."""

import math
from dataclasses import dataclass

import numpy as np
import pygame
from jaxtyping import Float32, UInt8

from reverie.envs.domains.miniarcade.canvas import (
    CANVAS_PX,
    StaticLayer,
    bold_text,
    fill_polygon,
    fill_rows,
    new_canvas,
    to_frame,
)
from reverie.envs.domains.miniarcade.effects import blend_disk, blit_edged_text, mixed, unit

CENTRE = (112.0, 118.0)
ARENA_RADIUS_PX, WALK_RADIUS_PX, PARTING_RADIUS_PX = 90, 78.0, 67.0
PLAYER_RADIUS_PX, OBSTACLE_RADIUS_PX, OBSTACLE_RING_PX = 8, 12, 40.0
SPEED_PX, EVADER_SPEED_PX = 3.5, 3.325
TURN_RAD = 0.01
FLASH_FRAMES = 12

_ORANGE, _GREEN, _WORD_GREEN = (255, 140, 0), (70, 160, 70), (0, 180, 0)
_SKY = ((130, 185, 180), (80, 170, 180))
_SKIN = (220, 220, 220)

Point = tuple[float, float]


@dataclass(slots=True)
class Player:
    """One of the two."""

    place: Point
    velocity: Point


@dataclass(kw_only=True, slots=True)
class ChaseState:
    """Everything that changes. Pixels and pixels per step; y points down."""

    steps: int
    agent: Player
    opponent: Player
    is_agent_evading: bool
    phase: float
    direction: int
    obstacles: tuple[Point, Point, Point]
    role_change: int | None
    """Steps that a change of roles has lasted; None outside of one."""
    flash: tuple[float, float, int, bool] | None
    """Place, frames left and whether the agent was caught."""


class ChaseEvade:
    """The game. Distance pays the evader and costs the chaser."""

    def __init__(self) -> None:
        """Start some episode."""
        self._background = StaticLayer(_paint_background)
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the agent's place, the roles and the obstacles."""
        angle = float(rng.uniform(0.0, 2 * math.pi))
        start = (CENTRE[0] + 75 * math.cos(angle), CENTRE[1] + 75 * math.sin(angle))
        is_evading = bool(rng.random() < 0.5)
        phase = float(rng.uniform(0.0, 2 * math.pi))
        self.state = ChaseState(
            steps=0,
            agent=Player(start, (0.0, 0.0)),
            opponent=Player(CENTRE, (0.0, 0.0)),
            is_agent_evading=is_evading,
            phase=phase,
            direction=1 if rng.random() < 0.5 else -1,
            obstacles=_ring(phase),
            role_change=None,
            flash=None,
        )

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Turn the obstacles; part after a catch, or move both players."""
        state = self.state
        state.obstacles = _ring(state.phase + state.direction * TURN_RAD * state.steps)
        if state.role_change is not None:
            self._part()
        else:
            speed = EVADER_SPEED_PX if state.is_agent_evading else SPEED_PX
            velocity = (speed * float(action[0]), speed * float(action[1]))
            state.agent = self._walked(state.agent.place, velocity)
            velocity = self._flee(rng) if not state.is_agent_evading else self._pursue()
            state.opponent = self._walked(state.opponent.place, velocity)
            if self._distance() < 2 * PLAYER_RADIUS_PX:
                self._catch()
        reward = 0.1 * self._distance() / ARENA_RADIUS_PX
        state.steps += 1
        return reward if state.is_agent_evading else -reward

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return both players, the agent's role and the obstacles."""
        state = self.state
        values: list[float] = []
        for player in (state.agent, state.opponent):
            values += [value / CANVAS_PX for value in player.place]
            values += [value / SPEED_PX for value in player.velocity]
        values += [float(state.is_agent_evading)]
        values += [value / CANVAS_PX for obstacle in state.obstacles for value in obstacle]
        return np.array(values, dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return 0 for a return of -50 and 1 for one of 50."""
        return min(max((total_reward + 50) / 100, 0.0), 1.0)

    def is_success(self) -> bool:
        """Return False: the benchmark defines no success here."""
        return False

    def is_over(self) -> bool:
        """Return False: the game ends by its time limit only."""
        return False

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw arena and players. The flash of a catch ages by drawing."""
        state = self.state
        canvas = new_canvas()
        change = 10 if state.role_change is None else min(state.role_change, 10)
        self._background.show(canvas, (state.is_agent_evading, change))
        for x, y in state.obstacles:
            pygame.draw.rect(canvas, (90, 90, 95), (int(x - 12), int(y), 24, 4))
            pygame.draw.circle(canvas, (130, 130, 130), (int(x), int(y)), OBSTACLE_RADIUS_PX)
        word, color = ("orange", _ORANGE) if state.is_agent_evading else ("green", _WORD_GREEN)
        width = blit_edged_text(canvas, word, 18, color, (6, 3))
        blit_edged_text(canvas, " is evading", 18, (255, 255, 255), (6 + width, 3))
        for player, team in ((state.agent, _ORANGE), (state.opponent, _GREEN)):
            _draw_player(canvas, player, team, state.steps)
        self._draw_flash(canvas)
        if state.role_change is not None:
            self._draw_countdown(canvas, max(0, 3 - state.role_change // 5))
        return to_frame(canvas)

    def _distance(self) -> float:
        return math.dist(self.state.agent.place, self.state.opponent.place)

    def _catch(self) -> None:
        state = self.state
        (x, y), (other_x, other_y) = state.agent.place, state.opponent.place
        was_agent_caught = state.is_agent_evading
        state.flash = ((x + other_x) / 2, (y + other_y) / 2, FLASH_FRAMES, was_agent_caught)
        state.is_agent_evading = not state.is_agent_evading
        state.role_change = 0

    def _part(self) -> None:
        state = self.state
        assert state.role_change is not None
        state.role_change += 1
        players = (state.agent, state.opponent)
        evader, chaser = players if state.is_agent_evading else players[::-1]
        x, y = chaser.place
        if math.dist(chaser.place, CENTRE) > 1.5:
            right, down = unit(CENTRE[0] - x, CENTRE[1] - y)
            chaser.velocity = (SPEED_PX * right, SPEED_PX * down)
            chaser.place = (x + chaser.velocity[0], y + chaser.velocity[1])
        x, y = evader.place
        right, down = unit(x - CENTRE[0], y - CENTRE[1])
        evader.velocity = (EVADER_SPEED_PX * right, EVADER_SPEED_PX * down)
        moved = (x + evader.velocity[0], y + evader.velocity[1])
        evader.place = _within(moved, PARTING_RADIUS_PX)
        if state.role_change >= 5 and math.dist(chaser.place, CENTRE) < 2:
            state.role_change = None

    def _walked(self, place: Point, velocity: Point) -> Player:
        x, y = _within((place[0] + velocity[0], place[1] + velocity[1]), WALK_RADIUS_PX)
        velocity_x, velocity_y = velocity
        for ob_x, ob_y in self.state.obstacles:
            gap = math.hypot(x - ob_x, y - ob_y)
            overlap = PLAYER_RADIUS_PX + OBSTACLE_RADIUS_PX - gap
            if overlap <= 0:
                continue
            right, down = unit(x - ob_x, y - ob_y)
            x, y = x + right * (overlap + 0.5), y + down * (overlap + 0.5)
            inward = -(velocity_x * right + velocity_y * down)
            if inward > 0:
                velocity_x += 2 * inward * right
                velocity_y += 2 * inward * down
        return Player((x, y), (velocity_x, velocity_y))

    def _pursue(self) -> Point:
        (x, y), (agent_x, agent_y) = self.state.opponent.place, self.state.agent.place
        right, down = unit(agent_x - x, agent_y - y)
        for ob_x, ob_y in self.state.obstacles:
            gap = math.hypot(x - ob_x, y - ob_y)
            if gap < 36:
                away = unit(x - ob_x, y - ob_y)
                right += away[0] * (36 - gap) / 36
                down += away[1] * (36 - gap) / 36
        right, down = unit(right, down)
        return SPEED_PX * right, SPEED_PX * down

    def _flee(self, rng: np.random.Generator) -> Point:
        (x, y), (agent_x, agent_y) = self.state.opponent.place, self.state.agent.place
        right, down = unit(x - agent_x, y - agent_y)
        if math.dist((x, y), CENTRE) > 72:
            out = unit(x - CENTRE[0], y - CENTRE[1])
            right, down = right - 0.5 * out[0], down - 0.5 * out[1]
        for ob_x, ob_y in self.state.obstacles:
            if (agent_x - ob_x) * (x - ob_x) + (agent_y - ob_y) * (y - ob_y) < 0:
                right, down = right + 0.02 * (ob_x - x), down + 0.02 * (ob_y - y)
        if self._distance() < 36:
            aside = unit(-(y - agent_y), x - agent_x)
            right += 0.2 * float(rng.choice((-1.0, 1.0))) * aside[0]
            down += 0.2 * float(rng.choice((-1.0, 1.0))) * aside[1]
        right, down = unit(right, down)
        return EVADER_SPEED_PX * right, EVADER_SPEED_PX * down

    def _draw_flash(self, canvas: pygame.Surface) -> None:
        if self.state.flash is None:
            return
        x, y, left, was_agent_caught = self.state.flash
        part = (FLASH_FRAMES - left) / 6 if left > 6 else left / 6
        color = _ORANGE if was_agent_caught else _GREEN
        blend_disk(
            canvas, (*color, int(255 * part)), (int(x), int(y)), int(10 + 40 * part), width=3
        )
        self.state.flash = (x, y, left - 1, was_agent_caught) if left > 1 else None

    def _draw_countdown(self, canvas: pygame.Surface, count: int) -> None:
        if count > 0:
            text = bold_text(str(count), 28, (0, 0, 0))
            left, top = CANVAS_PX // 2 - text.get_width() // 2, 68 + text.get_height() // 2
            color = _GREEN if self.state.is_agent_evading else _ORANGE
            blit_edged_text(canvas, str(count), 28, color, (left, top))


def make_game(variant: str) -> ChaseEvade:
    """Make the game; it has no variants."""
    if variant:
        raise ValueError(f"Chase-evade has no variants, got '{variant}'.")
    return ChaseEvade()


def _ring(phase: float) -> tuple[Point, Point, Point]:
    first, second, third = (
        (
            CENTRE[0] + OBSTACLE_RING_PX * math.cos(phase + 2 * math.pi * index / 3),
            CENTRE[1] + OBSTACLE_RING_PX * math.sin(phase + 2 * math.pi * index / 3),
        )
        for index in range(3)
    )
    return first, second, third


def _within(place: Point, radius: float) -> Point:
    if math.dist(place, CENTRE) <= radius:
        return place
    right, down = unit(place[0] - CENTRE[0], place[1] - CENTRE[1])
    return CENTRE[0] + radius * right, CENTRE[1] + radius * down


def _paint_background(canvas: pygame.Surface, key: tuple[bool, int]) -> None:
    is_agent_evading, change = key
    before, after = (_GREEN, _ORANGE) if is_agent_evading else (_ORANGE, _GREEN)
    light = mixed(before, after, change / 10)
    shades = (mixed(mixed(*_SKY, row / CANVAS_PX), light, 0.25) for row in range(CANVAS_PX))
    fill_rows(canvas, shades, x=0, y=0, width=CANVAS_PX)
    centre = (int(CENTRE[0]), int(CENTRE[1]))
    pygame.draw.circle(canvas, (40, 40, 45), centre, ARENA_RADIUS_PX)
    pygame.draw.circle(canvas, (220, 220, 220), centre, ARENA_RADIUS_PX, 2)
    pygame.draw.line(canvas, (180, 180, 180), (112, 106), (112, 130), 2)
    fill_polygon(canvas, after, [(112, 106), (122, 110), (112, 114)])


def _draw_player(
    canvas: pygame.Surface, player: Player, team: tuple[int, int, int], steps: int
) -> None:
    x, y = int(player.place[0]), int(player.place[1])
    is_walking = abs(player.velocity[0]) + abs(player.velocity[1]) > 0.5
    lift = (1 if (steps // 3) % 2 == 0 else -1) * is_walking
    pygame.draw.ellipse(canvas, _SKIN, (x - 6, y - 10, 12, 18))
    pygame.draw.rect(canvas, team, (x - 6, y - 3, 12, 6))
    pygame.draw.circle(canvas, team, (x - 4, y + 8 + lift), 3)
    pygame.draw.circle(canvas, team, (x + 4, y + 8 - lift), 3)
    for left in (x - 9, x + 3):
        pygame.draw.ellipse(canvas, _SKIN, (left, y, 6, 4))
    fill_polygon(canvas, team, [(x, y - 14), (x - 6, y - 10), (x + 6, y - 10)])
