"""Makes the Atari tasks and their experts."""

from reverie.core.types import FrameSpec
from reverie.envs.domains.atari.tasks import GAMES
from reverie.envs.game_env import GameEnv
from reverie.envs.oracle import OracleConfig, OraclePlanner
from reverie.envs.spec import TaskSpec

EFFORT = OracleConfig(horizon=16, num_knots=4, is_held=True, num_candidates=12, replan_every=4)
"""The emulator knows nine directions and one button, so actions are held."""


def make_env(spec: TaskSpec, frame_spec: FrameSpec) -> GameEnv:
    """Start an Atari task."""
    from reverie.envs.domains.atari.console import Console

    cartridge = next(game for game in GAMES if f"atari-{game.name}" == spec.name)
    return GameEnv(spec, frame_spec, Console(cartridge, num_repeats=spec.action_repeat))


def make_expert(spec: TaskSpec) -> OraclePlanner:
    """Make the oracle of a game: it tries the sticks on a copy of the emulator."""
    return OraclePlanner(spec, EFFORT)
