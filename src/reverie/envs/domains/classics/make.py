"""Makes the classics and their experts."""

from reverie.core.types import FrameSpec
from reverie.envs.api import Policy
from reverie.envs.experts import Controller
from reverie.envs.game_env import Game, GameEnv
from reverie.envs.spec import TaskSpec


def make_env(spec: TaskSpec, frame_spec: FrameSpec) -> GameEnv:
    """Start one of the classics; only its own simulator is imported."""
    return GameEnv(spec, frame_spec, _make_game(spec.name))


def make_expert(spec: TaskSpec) -> Policy | Controller:
    """Return the expert of one of the classics."""
    if spec.name == "CartPole-v1":
        from reverie.envs.domains.classics.cartpole import balance

        return balance
    from reverie.envs.domains.classics.racing_expert import RacingExpert

    return RacingExpert()


def _make_game(name: str) -> Game:
    if name == "CartPole-v1":
        from reverie.envs.domains.classics.cartpole import CartPole

        return CartPole()
    if name == "CarRacing-v3":
        from reverie.envs.domains.classics.racing import Racing

        return Racing()
    if name == "VizdoomTakeCover-v1":
        from reverie.envs.domains.classics.take_cover import TakeCover

        return TakeCover()
    from reverie.envs.domains.classics.coinrun import CoinRun

    return CoinRun()
