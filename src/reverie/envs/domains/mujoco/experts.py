"""Experts of the MuJoCo tasks: the oracle. Rewards are dense but for the pendulum's."""

from collections.abc import Mapping

from reverie.envs.domains.mujoco.game import ClassicGame
from reverie.envs.oracle import Hint, OracleConfig, OraclePlanner
from reverie.envs.spec import TaskSpec


def make_expert(spec: TaskSpec) -> OraclePlanner:
    """Make the oracle of a classic task."""
    return OraclePlanner(spec, EFFORTS.get(spec.name, OracleConfig()), HINTS.get(spec.name))


def _upright(game: ClassicGame) -> float:
    place, angle = game.environment.data.qpos
    return -5.0 * abs(float(angle)) - 2.0 * abs(float(place))


HINTS: Mapping[str, Hint] = {"mujoco-inverted-pendulum": _upright}
EFFORTS: Mapping[str, OracleConfig] = {
    "mujoco-inverted-pendulum": OracleConfig(horizon=12, num_knots=12, replan_every=1),
    "mujoco-hopper": OracleConfig(horizon=60, num_knots=10, replan_every=4, num_candidates=32),
    "mujoco-walker": OracleConfig(horizon=40, num_knots=10, replan_every=4, num_candidates=32),
}
"""The steps of hopper and walker are short, 16 ms, so a look ahead takes more of them; those of the
pendulum are long, 80 ms, so each needs an action of its own."""
