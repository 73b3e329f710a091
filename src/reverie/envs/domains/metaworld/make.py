"""Makes the Meta-World tasks and their experts."""

from reverie.core.types import FrameSpec, RenderQuality
from reverie.envs.api import Policy
from reverie.envs.game_env import GameEnv
from reverie.envs.mujoco_renderer import prepare_mujoco
from reverie.envs.spec import TaskSpec


def make_env(spec: TaskSpec, frame_spec: FrameSpec, quality: RenderQuality) -> GameEnv:
    """Start a Meta-World task."""
    prepare_mujoco()
    from reverie.envs.domains.metaworld.sawyer import SawyerGame

    game = SawyerGame(spec.name.removeprefix("mw-"), frame_spec, quality)
    return GameEnv(spec, frame_spec, game)


def make_expert(spec: TaskSpec) -> Policy:
    """Return the package's scripted expert of a task."""
    prepare_mujoco()
    from reverie.envs.domains.metaworld.experts import SawyerExpert

    return SawyerExpert(spec.name.removeprefix("mw-"))
