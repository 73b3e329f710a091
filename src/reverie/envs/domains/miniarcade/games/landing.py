"""Landing: set a helicopter down on a ship that sails to and fro."""

from dataclasses import dataclass

import numpy as np
import pygame
from jaxtyping import Float32, UInt8

from reverie.envs.domains.miniarcade.canvas import (
    CANVAS_PX,
    StaticLayer,
    fill_polygon,
    new_canvas,
    to_frame,
)
from reverie.envs.domains.miniarcade.effects import outline_polygon, tint

THRUST, DAMPING, GRAVITY_PX = 0.6, 0.96, 0.2
WIDTH_PX, HEIGHT_PX = 28, 18
DECK_WIDTH_PX, DECK_HEIGHT_PX, DECK_TOP_PX = 70, 12, 183
DECK_CENTRE_PX = DECK_TOP_PX + DECK_HEIGHT_PX // 2
LANDED_PX = float(DECK_TOP_PX - HEIGHT_PX)
"""Top edge of a helicopter that stands on the deck."""
SEA_PX = 179
NUM_STARS = 40
_WHITE_DECK = (240, 240, 240)


@dataclass(kw_only=True, slots=True)
class LandingState:
    """Everything that changes. Pixels and pixels per step; y points down."""

    steps: int
    helicopter: tuple[float, float, float, float]
    """Top left corner and velocity."""
    ship_x: float
    ship_direction: int
    ship_speed: float
    has_contact: bool
    is_locked: bool
    """Whether the helicopter rests on the deck and moves with it."""
    stars: tuple[tuple[float, float], ...]


class Landing:
    """The game. Standing near the middle of the deck pays; diving and hard landings cost."""

    def __init__(self) -> None:
        """Start some episode."""
        self._background = StaticLayer(_paint_background)
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Draw helicopter, ship and stars."""
        x, y = float(rng.uniform(12.0, 36.0)), float(rng.uniform(12.0, 36.0))
        velocity = (float(rng.uniform(-0.3, 0.3)), float(rng.uniform(-0.3, 0.3)))
        direction = 1 if rng.random() < 0.5 else -1
        self.state = LandingState(
            steps=0,
            helicopter=(x, y, *velocity),
            ship_x=74.0,
            ship_direction=direction,
            ship_speed=1.4 + float(rng.uniform(-0.3, 0.3)),
            has_contact=False,
            is_locked=False,
            stars=tuple(
                (float(rng.uniform(0.0, CANVAS_PX)), float(rng.uniform(0.0, SEA_PX)))
                for _ in range(NUM_STARS)
            ),
        )

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Fly, sail, push the two apart, and settle on the deck."""
        state = self.state
        x, y, velocity_x, velocity_y = state.helicopter
        velocity_x += THRUST * float(action[0])
        velocity_y += THRUST * float(action[1]) + GRAVITY_PX
        x = min(max(x + velocity_x, 0.0), float(CANVAS_PX - WIDTH_PX))
        y = min(max(y + velocity_y, 0.0), float(CANVAS_PX - HEIGHT_PX))
        state.helicopter = (x, y, velocity_x * DAMPING, velocity_y * DAMPING)
        self._sail()
        fall_speed = state.helicopter[3]
        self._push_apart()
        body, deck = _body(state.helicopter), self._deck()
        was_in_contact = state.has_contact
        is_over_deck = body.right > deck.left + 4 and body.left < deck.right - 4
        state.has_contact = is_over_deck and abs(body.bottom - DECK_TOP_PX) <= 3
        self._settle()
        state.steps += 1
        return self._reward(body, deck, 0.0 if was_in_contact else fall_speed)

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return the helicopter, and place and velocity of the ship."""
        state = self.state
        x, y, velocity_x, velocity_y = state.helicopter
        places = (x / CANVAS_PX, y / CANVAS_PX, velocity_x / 10, velocity_y / 10)
        ship = (state.ship_x / CANVAS_PX, DECK_CENTRE_PX / CANVAS_PX, self._ship_velocity() / 5)
        return np.array([*places, *ship], dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return the part of the largest possible return."""
        return min(max(total_reward / 200, 0.0), 1.0)

    def is_success(self) -> bool:
        """Return False: the benchmark defines no success here."""
        return False

    def is_over(self) -> bool:
        """Return False: the flight ends by its time limit only."""
        return False

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw sky, sea, ship and helicopter."""
        state = self.state
        canvas = new_canvas()
        self._background.show(canvas, state.stars)
        _draw_ship(canvas, self._deck(), state.ship_direction)
        _draw_helicopter(canvas, int(state.helicopter[0]), int(state.helicopter[1]))
        if state.has_contact:
            tint(canvas, (80, 220, 120, 40))
        return to_frame(canvas)

    def _ship_velocity(self) -> float:
        return self.state.ship_direction * self.state.ship_speed

    def _deck(self) -> pygame.Rect:
        left = int(self.state.ship_x - DECK_WIDTH_PX / 2)
        return pygame.Rect(left, DECK_TOP_PX, DECK_WIDTH_PX, DECK_HEIGHT_PX)

    def _sail(self) -> None:
        state, half = self.state, DECK_WIDTH_PX / 2
        state.ship_x += self._ship_velocity()
        if state.ship_x - half <= 0:
            state.ship_x, state.ship_direction = half, 1
        elif state.ship_x + half >= CANVAS_PX:
            state.ship_x, state.ship_direction = CANVAS_PX - half, -1

    def _push_apart(self) -> None:
        state, deck = self.state, self._deck()
        x, y, velocity_x, velocity_y = state.helicopter
        body = _body(state.helicopter)
        if not body.colliderect(deck):
            return
        across = min(body.right - deck.left, deck.right - body.left)
        along = min(body.bottom - deck.top, deck.bottom - body.top)
        if along <= across and body.centery < deck.centery:
            y, velocity_y, velocity_x = LANDED_PX, min(0.0, velocity_y), velocity_x * 0.9
        elif along <= across:
            y, velocity_y = float(deck.bottom), max(0.0, velocity_y)
        elif body.centerx < deck.centerx:
            x, velocity_x = float(deck.left - WIDTH_PX), min(0.0, velocity_x)
        else:
            x, velocity_x = float(deck.right), max(0.0, velocity_x)
        state.helicopter = (x, y, velocity_x, velocity_y)

    def _settle(self) -> None:
        state = self.state
        x, y, velocity_x, velocity_y = state.helicopter
        ship = self._ship_velocity()
        if state.has_contact:
            velocity_x = 0.7 * velocity_x + 0.3 * ship
            if abs(velocity_y) < 0.2 and abs(velocity_x - ship) < 0.2:
                state.is_locked = True
        else:
            state.is_locked = False
        if state.is_locked:
            y, velocity_x, velocity_y = LANDED_PX, ship, min(0.0, velocity_y)
        state.helicopter = (x, y, velocity_x, velocity_y)

    def _reward(self, body: pygame.Rect, deck: pygame.Rect, fall_speed: float) -> float:
        state = self.state
        aside = 1 - min(abs(body.centerx - deck.centerx) / (DECK_WIDTH_PX / 2), 1.0)
        reward = 0.0
        if state.has_contact:
            reward += 0.1 + 0.9 * aside - min(10.0, 2 * max(0.0, fall_speed))
        if state.helicopter[3] > 0:
            reward -= 0.001 * state.helicopter[3]
        if body.centery > DECK_TOP_PX:
            return reward - 0.5
        height = min(abs(body.centery - DECK_CENTRE_PX) / CANVAS_PX, 1.0)
        return reward + 0.025 * aside + 0.1 * (1 - height)


def make_game(variant: str) -> Landing:
    """Make the game; it has no variants."""
    if variant:
        raise ValueError(f"Landing has no variants, got '{variant}'.")
    return Landing()


def _body(helicopter: tuple[float, float, float, float]) -> pygame.Rect:
    return pygame.Rect(int(helicopter[0]), int(helicopter[1]), WIDTH_PX, HEIGHT_PX)


def _paint_background(canvas: pygame.Surface, stars: tuple[tuple[float, float], ...]) -> None:
    canvas.fill((150, 190, 255))
    pygame.draw.rect(canvas, (50, 120, 200), (0, SEA_PX, CANVAS_PX, CANVAS_PX - SEA_PX))
    for x, y in stars:
        pygame.draw.circle(canvas, (240, 240, 255), (int(x), int(y)), 1)


def _draw_ship(canvas: pygame.Surface, deck: pygame.Rect, direction: int) -> None:
    left, right, top, bottom = deck.left, deck.right, deck.top, deck.bottom
    hull = [(left, bottom), (right, bottom), (right - 10, bottom + 16), (left + 10, bottom + 16)]
    fill_polygon(canvas, (120, 120, 140), hull)
    outline_polygon(canvas, (80, 80, 100), hull, 2)
    pygame.draw.rect(canvas, _WHITE_DECK, deck)
    pygame.draw.rect(canvas, (180, 180, 180), deck, 2)
    middle = top + DECK_HEIGHT_PX // 2
    pygame.draw.line(canvas, (160, 160, 160), (left + 6, middle), (right - 6, middle))
    edge = right if direction > 0 else left
    bow = [(edge, top), (edge + 10 * direction, middle), (edge, bottom)]
    fill_polygon(canvas, _WHITE_DECK, bow)
    outline_polygon(canvas, (180, 180, 180), bow, 2)
    cabin = pygame.Rect(left + 6 if direction > 0 else right - 24, top - 12, 18, 12)
    pygame.draw.rect(canvas, (230, 230, 235), cabin)
    pygame.draw.rect(canvas, (160, 160, 170), cabin, 2)
    for index in range(3):
        window = (cabin.left + 3 + 6 * index, cabin.top + 3, 4, 5)
        pygame.draw.rect(canvas, (180, 210, 240), window)
    x = deck.centerx
    pygame.draw.line(canvas, (70, 70, 70), (x, top), (x, top - 10), 2)
    fill_polygon(canvas, (220, 40, 40), [(x, top - 10), (x + 8, top - 7), (x, top - 4)])


def _draw_helicopter(canvas: pygame.Surface, x: int, y: int) -> None:
    body = [(x, y + 9), (x + 22, y), (x + 28, y + 9), (x + 22, y + 18)]
    fill_polygon(canvas, (180, 200, 220), body)
    outline_polygon(canvas, (90, 120, 180), body, 2)
    pygame.draw.line(canvas, (90, 120, 180), (x + 6, y + 9), (x - 8, y + 9), 2)
    pygame.draw.line(canvas, (80, 80, 80), (x + 4, y + 18), (x + 20, y + 18), 3)
    for skid in (x + 8, x + 16):
        pygame.draw.line(canvas, (80, 80, 80), (skid, y + 12), (skid, y + 18), 2)
    pygame.draw.line(canvas, (50, 50, 50), (x - 2, y - 3), (x + 30, y - 3), 2)
