"""Gymnasium's CartPole-v1."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from reverie.envs.domains.classics.letterbox import to_square

FULL_RETURN = 500.0
PADDING = 255


@dataclass(frozen=True, slots=True)
class CartPoleState:
    """All that the physics remembers."""

    values: tuple[float, ...]
    """Cart position and velocity, pole angle and angular velocity."""
    steps_beyond: int | None
    """Steps since the pole fell, None while it stands."""


class CartPole:
    """Push left or right, whichever choice is larger."""

    def __init__(self) -> None:
        """Start the environment of the library."""
        run_pygame_headless()
        from gymnasium.envs.classic_control.cartpole import CartPoleEnv

        self._env: Any = CartPoleEnv(render_mode="rgb_array")
        self._env.reset(seed=0)

    @property
    def state(self) -> CartPoleState:
        """What the physics remembers; setting it restores it."""
        values = tuple(float(value) for value in self._env.state)
        return CartPoleState(values, self._env.steps_beyond_terminated)

    @state.setter
    def state(self, state: CartPoleState) -> None:
        self._env.state = np.array(state.values)
        self._env.steps_beyond_terminated = state.steps_beyond

    def reset(self, rng: np.random.Generator) -> None:
        """Start near the upright pole."""
        self._env.reset(seed=int(rng.integers(2**31)))

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Push; every step pays 1, the last one too."""
        _, reward, *_ = self._env.step(int(np.argmax(action)))
        return float(reward)

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw cart and pole, white above and below."""
        return to_square(np.ascontiguousarray(self._env.render()), padding=PADDING)

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return cart position and velocity, pole angle and angular velocity."""
        return np.array(self._env.state, dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return the part of the full return."""
        return min(total_reward / FULL_RETURN, 1.0)

    def is_success(self) -> bool:
        """Tell whether the pole still stands."""
        return not self.is_over()

    def is_over(self) -> bool:
        """Tell whether the pole fell or the cart left the picture."""
        return self._env.steps_beyond_terminated is not None


def run_pygame_headless() -> None:
    """Keep pygame from looking for a screen or a sound card when the library starts it."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")


def balance(state: Float32[np.ndarray, " n"]) -> tuple[float, ...]:
    """Push to the side to which the pole leans and turns, and away from the edge."""
    position, velocity, angle, turn = (float(value) for value in state)
    lean = angle + 0.35 * turn + 0.03 * position + 0.06 * velocity
    return (-1.0, 1.0) if lean > 0 else (1.0, -1.0)
