"""Makes the Meta-World tasks and their experts."""

from reverie.core.types import FrameSpec
from reverie.envs.api import Policy
from reverie.envs.game_env import GameEnv
from reverie.envs.mujoco_renderer import prepare_mujoco
from reverie.envs.spec import TaskSpec


def make_env(spec: TaskSpec, frame_spec: FrameSpec) -> GameEnv:
    """Start a Meta-World task."""
    prepare_mujoco()
    from reverie.envs.domains.metaworld.sawyer import SawyerGame

    return GameEnv(spec, frame_spec, SawyerGame(spec.name.removeprefix("mw-"), frame_spec))


def make_expert(spec: TaskSpec) -> Policy:
    """Return the package's scripted expert of a task."""
    prepare_mujoco()
    from reverie.envs.domains.metaworld.experts import SawyerExpert

    return SawyerExpert(spec.name.removeprefix("mw-"))
