"""Gymnasium's CarRacing-v3, observed in 224 pixels."""

from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from reverie.envs.domains.box2d.private import racing_module
from reverie.envs.domains.box2d.replay import Replay, draw_seed
from reverie.envs.domains.classics.cartpole import run_pygame_headless

FULL_RETURN = 900.0
"""Mean return that counts as solving the task."""
_NO_PICTURE = np.zeros((1, 1, 3), dtype=np.uint8)


class Racing:
    """Steer, gas, brake; ends when the lap is done or the car leaves the playfield."""

    def __init__(self) -> None:
        """Build a first track."""
        run_pygame_headless()
        self._env: Any = None
        self._begin(0)

    @property
    def state(self) -> Replay:
        """The episode so far; setting it repeats the episode, without pictures."""
        return self._replay

    @state.setter
    def state(self, replay: Replay) -> None:
        replay.play(self._begin, self._advance)
        self._replay = replay

    @property
    def simulator(self) -> Any:
        """The library's environment, for experts that look at the track."""
        return self._env

    def reset(self, rng: np.random.Generator) -> None:
        """Build a new track and put the car onto it."""
        self._begin(draw_seed(rng))

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Drive one frame: tiles visited for the first time pay, time costs."""
        self._replay = self._replay.after(action)
        return self._advance(action)

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw what the library's agent observes."""
        return np.asarray(self._render("state_pixels"), dtype=np.uint8)

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return position, angle, velocities, steering and the wheels' speeds of the car."""
        car = self._env.car
        hull = car.hull
        values = [*hull.position, hull.angle, *hull.linearVelocity, hull.angularVelocity]
        wheels = [car.wheels[0].joint.angle, *(wheel.omega for wheel in car.wheels)]
        return np.array([*values, *wheels], dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return the part of what counts as solved."""
        return min(max(total_reward / FULL_RETURN, 0.0), 1.0)

    def is_success(self) -> bool:
        """Tell whether the lap is done."""
        return self._is_lap_done

    def is_over(self) -> bool:
        """Tell whether the lap is done or the car is lost."""
        return self._is_over

    def _begin(self, seed: int) -> None:
        self._replay = Replay(seed)
        self._is_over = self._is_lap_done = False
        if self._env is not None:
            self._env._destroy()
        env = racing_module().CarRacing(render_mode="rgb_array", verbose=False)
        self._render = env._render
        # Drawn on demand instead: an observation costs more than the physics.
        env._render = lambda mode: _NO_PICTURE
        env.reset(seed=seed)
        self._env = env

    def _advance(self, action: Float32[np.ndarray, " a"]) -> float:
        pedals = np.array([action[0], (action[1] + 1) / 2, (action[2] + 1) / 2], dtype=np.float64)
        _, reward, terminated, _, info = self._env.step(pedals)
        self._is_over = bool(terminated)
        self._is_lap_done = bool(info.get("lap_finished", False))
        return float(reward)
