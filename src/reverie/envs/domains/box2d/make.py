"""Makes the Box2D tasks and their experts."""

from reverie.core.types import FrameSpec
from reverie.envs.api import Policy
from reverie.envs.domains.box2d.replay import ReplayedGame
from reverie.envs.game_env import Game, GameEnv
from reverie.envs.spec import TaskSpec


def make_env(spec: TaskSpec, frame_spec: FrameSpec) -> GameEnv:
    """Start a Box2D task."""
    return GameEnv(spec, frame_spec, _make_game(spec))


def make_expert(spec: TaskSpec) -> Policy:
    """Return the expert of a Box2D task: a gait of ours, or the library's loops for our goals."""
    from reverie.envs.domains.box2d.experts import LanderExpert, WalkerExpert

    return WalkerExpert() if spec.name.startswith("bipedal") else LanderExpert()


def _make_game(spec: TaskSpec) -> Game:
    family, _, variant = spec.name.rpartition("-")
    if family == "bipedal-walker":
        from reverie.envs.domains.box2d import walker

        world = walker.Walker(variant, num_repeats=spec.action_repeat)
        return ReplayedGame(world, full_return=walker.FULL_RETURN)
    from reverie.envs.domains.box2d import lander

    assert variant in ("land", "hover", "takeoff"), variant
    world = lander.Lander(variant, num_repeats=spec.action_repeat)
    return ReplayedGame(world, full_return=lander.FULL_RETURN)
