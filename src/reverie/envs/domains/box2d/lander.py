"""Gymnasium's lunar lander in a square world, with three goals and the benchmark's rewards."""

import math
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from reverie.envs.domains.box2d.lander_picture import LanderLook, LanderPicture
from reverie.envs.domains.box2d.lander_world import (
    HALF_WORLD_M,
    PAD_Y_M,
    REST_HEIGHT_M,
    WORLD_M,
    LanderStart,
    build_world,
)
from reverie.envs.domains.box2d.private import lander_module
from reverie.envs.domains.box2d.replay import jittered

Goal = Literal["land", "hover", "takeoff"]
FULL_RETURN = 500.0
MAX_FORCE_N = 600.0
"""Of the push at the start, per axis."""
IDLE_STEPS = {"land": 1, "hover": 1, "takeoff": 6}
"""Simulation steps without thrust before an episode starts."""
PARTICLE_AGE = 0.15
"""Life that an exhaust particle loses per frame."""
_IDLE = np.zeros(2)


class Lander:
    """One lander; a crash is paid for at every further step, and does not end the episode."""

    def __init__(self, goal: Goal, *, num_repeats: int) -> None:
        """Make a lander; the first world comes with the first reset.

        Args:
            goal: To settle on the pad, to stay at a point, or to leave the pad for a point.
            num_repeats: Simulation steps per step.
        """
        self._goal: Goal = goal
        self._num_repeats = num_repeats
        self._module = lander_module()
        self._picture = LanderPicture()

    def picture(self) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the whole world."""
        return self._picture.draw(self._env, self._look)

    def observation(self) -> Float32[np.ndarray, " n"]:
        """Return the library's 8 values, then the way to the goal where there is one."""
        if self._goal == "land":
            return self._observation.copy()
        way = (self._target - self._position()) / HALF_WORLD_M
        return np.concatenate([self._observation, way.astype(np.float32)])

    def begin(self, seed: int) -> None:
        """Build a new moon, place the lander and push it."""
        rng = np.random.default_rng([seed, 0])
        env = self._module.LunarLander(render_mode="rgb_array", continuous=True)
        # The noise of the engines comes from the library's own generator.
        env.np_random = np.random.default_rng([seed, 1])
        build_world(env, self._module, rng, lambda pad: draw_start(self._goal, pad, rng))
        self._env = env
        self._target = draw_target(self._goal, env, rng)
        self._look = draw_look(self._goal, env, self._target, rng)
        for _ in range(IDLE_STEPS[self._goal]):
            self._observation, *_ = env.step(_IDLE)

    def advance(self, action: Float32[np.ndarray, " a"]) -> float:
        """Advance; return the summed rewards of the simulation steps."""
        total = 0.0
        for _ in range(self._num_repeats):
            self._observation, reward, *_ = self._env.step(action)
            total += self._reward(float(reward), action)
        for particle in self._env.particles:
            particle.ttl -= PARTICLE_AGE
        self._env._clean_particles(False)
        return total

    def _reward(self, library_reward: float, action: Float32[np.ndarray, " a"]) -> float:
        if self._goal == "land":
            return min(max(library_reward, -5.0), 10.0) / 20.0
        position = self._position()
        if position[1] < PAD_Y_M + REST_HEIGHT_M:
            return 0.0
        distance = math.hypot(*(self._target - position))
        main, side = float(action[0]), abs(float(action[1]))
        main_power = 0.5 + 0.5 * main if main > 0.0 else 0.0
        side_power = side if side > 0.5 else 0.0
        reward = 1.0 - distance / 6.0 - 0.03 * main_power - 0.003 * side_power
        return min(max(reward, 0.0), 1.0)

    def _position(self) -> Float64[np.ndarray, "2"]:
        return np.array(tuple(self._env.lander.position))


def draw_start(goal: Goal, pad: tuple[float, float], rng: np.random.Generator) -> LanderStart:
    """Draw where a lander starts and how it is pushed.

    Args:
        goal: What it is to do.
        pad: Left and right end of the pad, in metres.
        rng: Where the draws come from.
    """
    if goal == "takeoff":
        quarter = (pad[1] - pad[0]) / 4
        x = rng.uniform(pad[0] + quarter, pad[1] - quarter)
        force = (0.5 * rng.uniform(-MAX_FORCE_N, MAX_FORCE_N), -2 * MAX_FORCE_N)
        return LanderStart(x=x, y=PAD_Y_M + REST_HEIGHT_M, force=force)
    x = HALF_WORLD_M * rng.uniform(0.95, 1.05)
    y = 0.8 * WORLD_M * rng.uniform(0.95, 1.05)
    push = rng.uniform(-MAX_FORCE_N, MAX_FORCE_N, size=2)
    return LanderStart(x=x, y=y, force=(float(push[0]), float(push[1])))


def draw_target(goal: Goal, env: Any, rng: np.random.Generator) -> Float64[np.ndarray, "2"]:
    """Draw the point to fly to, in metres; the pad itself for landing."""
    middle = (env.helipad_x1 + env.helipad_x2) / 2
    if goal == "takeoff":
        low, high = 0.2 * WORLD_M, 0.8 * WORLD_M
        return np.array([rng.uniform(low, high), rng.uniform(0.6 * WORLD_M, high)])
    if goal == "hover":
        return np.array([middle, HALF_WORLD_M]) + rng.uniform(-1.0, 1.0, size=2)
    return np.array([middle, PAD_Y_M])


def draw_look(
    goal: Goal, env: Any, target: Float64[np.ndarray, "2"], rng: np.random.Generator
) -> LanderLook:
    """Draw the colours of an episode."""
    return LanderLook(
        sky=jittered((20, 10, 15), rng, common=10, each=5),
        ground=jittered((230, 215, 220), rng, common=15, each=10),
        sign=jittered((204, 204, 0), rng, common=15, each=5),
        body=jittered((128, 102, 230), rng, common=10, each=5),
        sky_corners=env.sky_polys,
        flags_x=(env.helipad_x1, env.helipad_x2) if goal == "land" else (),
        target=None if goal == "land" else (float(target[0]), float(target[1])),
    )
