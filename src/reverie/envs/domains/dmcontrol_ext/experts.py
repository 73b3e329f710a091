"""Experts of the extended tasks: the oracle, with hints where rewards are sparse."""

from collections.abc import Mapping
from typing import Any

from reverie.envs.domains.dmcontrol.experts import of_physics
from reverie.envs.oracle import Hint, OracleConfig, OraclePlanner
from reverie.envs.spec import TaskSpec


def make_expert(spec: TaskSpec) -> OraclePlanner:
    """Make the oracle of an extended task."""
    return OraclePlanner(spec, EFFORTS.get(spec.name, OracleConfig()), HINTS.get(spec.name))


def _hop_backward(physics: Any) -> float:
    return min(float(physics.height()), 0.7) - 0.2 * max(float(physics.speed()), -1.0)


def _swing(physics: Any) -> float:
    velocity = physics.named.data.qvel[["ball_x", "ball_z"]]
    return 0.05 * float(abs(velocity).sum()) - 0.5 * float(physics.in_target())


HINTS: Mapping[str, Hint] = {
    "hopper-hop-backward": of_physics(_hop_backward),
    "reacher-three-easy": of_physics(lambda physics: -physics.finger_to_target_dist()),
    "reacher-three-hard": of_physics(lambda physics: -physics.finger_to_target_dist()),
    "cup-spin": of_physics(_swing),
    "pendulum-spin": of_physics(lambda physics: 0.1 * abs(float(physics.angular_velocity()[0]))),
}
EFFORTS: Mapping[str, OracleConfig] = {
    "pendulum-spin": OracleConfig(horizon=40, num_knots=8, replan_every=4),
}
