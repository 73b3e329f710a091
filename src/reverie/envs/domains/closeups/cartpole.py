"""Gymnasium's CartPole-v1, cropped to the rows in which something moves."""

from typing import Any

import cv2
import gymnasium
import numpy as np
import pygame
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from jaxtyping import Float32, UInt8
from pygame import gfxdraw

from reverie.core.types import FrameSpec
from reverie.envs.domains.classics.cartpole import balance
from reverie.envs.experts import Controller
from reverie.envs.game_env import GameEnv
from reverie.envs.spec import TaskSpec

FIRST_ROW, LAST_ROW = 150, 350
"""Rows of the 600x400 picture that are kept. At 64 px a pole that is 10 of 600 pixels wide is one
pixel; without the crop it would be half as long, too."""
SOFTENED_PX = 39
"""Width over which the picture is averaged from left to right. The pole is thinner than a pixel of
32: where in its pixel it stands would be lost otherwise, and with it the angle (R2 0.80 instead of
0.99) and everything that is learned from differences of angles."""
FULL_RETURN = 500
_WIDTH_PX, _HEIGHT_PX, _PX_PER_METRE = 600, 400, 125.0
_CART_Y_PX, _AXLE_PX = 100, 7.5
_CART, _POLE, _AXLE, _TRACK = (0, 0, 0), (202, 152, 101), (129, 132, 203), (0, 0, 0)


class CloseCartPole:
    """The rules of ``gymnasium.make("CartPole-v1")`` as a game whose state is plain values."""

    def __init__(self) -> None:
        """Start Gymnasium's environment; it lives as long as the game."""
        env: Any = gymnasium.make("CartPole-v1", render_mode="rgb_array").unwrapped
        assert isinstance(env, CartPoleEnv), f"CartPole-v1 is a {type(env).__name__}"
        self._env: Any = env
        self._surface = pygame.Surface((_WIDTH_PX, LAST_ROW - FIRST_ROW), depth=32)
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Let Gymnasium draw a start under a seed of our stream."""
        self._env.reset(seed=int(rng.integers(2**31)))
        self.state: dict[str, Any] = {"physics": np.array(self._env.state), "is_over": False}

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Push right above zero, left otherwise; every step pays 1, the last one included."""
        self._env.state = self.state["physics"]
        self._env.steps_beyond_terminated = None
        _, reward, terminated, _, _ = self._env.step(int(action[0] > 0))
        self.state = {"physics": np.array(self._env.state), "is_over": bool(terminated)}
        return float(reward)

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the rows of the cart and the pole, as Gymnasium would, and soften them."""
        position, _, angle, _ = self.state["physics"]
        sharp = draw_cart_pole(self._surface, float(position), float(angle))
        return np.asarray(cv2.blur(sharp, (SOFTENED_PX, 1)), dtype=np.uint8)

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return position, velocity, angle and angular velocity."""
        return self.state["physics"].astype(np.float32)

    def score(self, total_reward: float) -> float:
        """Return the share of the longest possible balance."""
        return total_reward / FULL_RETURN

    def is_success(self) -> bool:
        """Tell whether the pole is still up."""
        return not self.state["is_over"]

    def is_over(self) -> bool:
        """Tell whether the pole fell or the cart left the picture."""
        return bool(self.state["is_over"])


def draw_cart_pole(
    surface: pygame.Surface, position: float, angle: float
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw what Gymnasium's renderer draws, without the rows that are cropped anyway.

    A twentieth of the time of the full picture; a test holds the two equal, pixel by pixel.

    Args:
        surface: As wide as the picture and as high as the kept rows; drawn over.
        position: Of the cart, in metres from the middle.
        angle: Of the pole, in radians clockwise from upright.
    """
    # Gymnasium draws upside down and flips; so do we, with the rows above ours cut off.
    lift = _HEIGHT_PX - LAST_ROW
    surface.fill((255, 255, 255))
    x = position * _PX_PER_METRE + _WIDTH_PX / 2.0
    cart = [(-25.0, -15.0), (-25.0, 15.0), (25.0, 15.0), (25.0, -15.0)]
    _fill(surface, [(a + x, b + _CART_Y_PX) for a, b in cart], _CART, lift)
    pole = [(-5.0, -5.0), (-5.0, 120.0), (5.0, 120.0), (5.0, -5.0)]
    turned = [pygame.math.Vector2(corner).rotate_rad(-angle) for corner in pole]
    corners = [(v[0] + x, v[1] + _CART_Y_PX + _AXLE_PX) for v in turned]
    _fill(surface, corners, _POLE, lift)
    axle = (int(x), int(_CART_Y_PX + _AXLE_PX) - lift, 5)
    gfxdraw.aacircle(surface, *axle, _AXLE)
    gfxdraw.filled_circle(surface, *axle, _AXLE)
    gfxdraw.hline(surface, 0, _WIDTH_PX, _CART_Y_PX - lift, _TRACK)
    # The surface's own memory (BGRA rows): twenty times as fast as pygame.surfarray.
    memory: Any = surface.get_buffer()
    rows = np.frombuffer(memory, dtype=np.uint8).reshape(*surface.get_size()[::-1], 4)
    return np.asarray(cv2.cvtColor(rows[::-1], cv2.COLOR_BGRA2RGB), dtype=np.uint8)


def _fill(
    surface: pygame.Surface,
    corners: list[tuple[float, float]],
    colour: tuple[int, int, int],
    lift: int,
) -> None:
    lowered = [(x, int(y) - lift) for x, y in corners]
    gfxdraw.aapolygon(surface, lowered, colour)
    gfxdraw.filled_polygon(surface, lowered, colour)


def make_expert(spec: TaskSpec) -> Controller:
    """Return CartPole-v1's expert, which says the same with one lane instead of two."""
    return lambda state: balance(state)[1:]


def make_env(spec: TaskSpec, frame_spec: FrameSpec) -> GameEnv:
    """Start the task."""
    return GameEnv(spec, frame_spec, CloseCartPole())
