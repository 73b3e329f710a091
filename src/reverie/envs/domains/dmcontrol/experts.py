"""Experts of the DMControl tasks: the oracle, with hints where rewards are sparse."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from reverie.envs.domains.dmcontrol.game import SuiteGame
from reverie.envs.oracle import Hint, OracleConfig, OraclePlanner
from reverie.envs.spec import TaskSpec

PENDULUM_ENERGY_S2 = 1 / 29.43
"""Kinetic energy of the pendulum per squared speed, where 1 is the energy of standing still on
top minus that at the middle: l / (2 g) for a point at 0.5 m is 1 / 39.2; with the rod's own
inertia 1 / 29.4."""


def make_expert(spec: TaskSpec) -> OraclePlanner:
    """Make the oracle of a suite task."""
    stock = spec.name.removesuffix("-var1")
    return OraclePlanner(spec, EFFORTS.get(stock, OracleConfig()), HINTS.get(stock))


def of_physics(hint: Callable[[Any], float]) -> Hint:
    """Let a hint see the physics of a suite task."""

    def of_game(game: SuiteGame) -> float:
        return float(hint(game.physics))

    return of_game


def _pendulum(physics: Any) -> float:
    height = float(physics.pole_vertical())
    speed = float(physics.angular_velocity()[0])
    energy = height + PENDULUM_ENERGY_S2 * speed**2
    return 0.2 * height - abs(energy - 1.0)


def _hopper(physics: Any) -> float:
    return min(float(physics.height()), 0.7) + 0.2 * min(float(physics.speed()), 2.0)


HINTS: Mapping[str, Hint] = {
    "pendulum-swingup": of_physics(_pendulum),
    "reacher-easy": of_physics(lambda physics: -physics.finger_to_target_dist()),
    "reacher-hard": of_physics(lambda physics: -physics.finger_to_target_dist()),
    "cup-catch": of_physics(lambda physics: -abs(physics.ball_to_target()).sum()),
    "finger-spin": of_physics(lambda physics: -0.1 * physics.hinge_velocity()),
    "finger-turn-easy": of_physics(lambda physics: -physics.dist_to_target()),
    "finger-turn-hard": of_physics(lambda physics: -physics.dist_to_target()),
    "hopper-stand": of_physics(lambda physics: min(float(physics.height()), 0.7)),
    "hopper-hop": of_physics(_hopper),
}

_FAR = OracleConfig(horizon=40, num_knots=8, replan_every=4)
"""For bodies whose control steps are short."""
EFFORTS: Mapping[str, OracleConfig] = {
    "pendulum-swingup": replace(_FAR, horizon=50),
    "acrobot-swingup": replace(_FAR, horizon=60, num_candidates=48),
    "cartpole-balance": _FAR,
    "cartpole-balance-sparse": _FAR,
    "cartpole-swingup": replace(_FAR, horizon=60),
    "cartpole-swingup-sparse": replace(_FAR, horizon=60),
    "cup-catch": replace(_FAR, horizon=30),
}
