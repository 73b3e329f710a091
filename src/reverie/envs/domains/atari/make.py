"""Makes the Atari tasks."""

from reverie.core.types import FrameSpec
from reverie.envs.domains.atari.tasks import GAMES
from reverie.envs.game_env import GameEnv
from reverie.envs.spec import TaskSpec


def make_env(spec: TaskSpec, frame_spec: FrameSpec) -> GameEnv:
    """Start an Atari task."""
    from reverie.envs.domains.atari.console import Console

    cartridge = next(game for game in GAMES if f"atari-{game.name}" == spec.name)
    return GameEnv(spec, frame_spec, Console(cartridge, num_repeats=spec.action_repeat))
