"""Makes the ManiSkill tasks and their experts; never downloads, never asks."""

import os
import warnings
from pathlib import Path

from reverie.core.errors import MissingAssetError
from reverie.core.types import FrameSpec
from reverie.envs.domains.maniskill.setups import SETUPS
from reverie.envs.domains.maniskill.tasks import ASSET_FOLDERS
from reverie.envs.experts import Controller
from reverie.envs.game_env import GameEnv
from reverie.envs.mujoco_renderer import choose_graphics
from reverie.envs.spec import TaskSpec


def make_env(spec: TaskSpec, frame_spec: FrameSpec) -> GameEnv:
    """Start a ManiSkill task.

    Raises:
        MissingAssetError: The task needs a download that is not there; the library itself would
            ask on the terminal.
        MissingDriverError: There is no Vulkan driver that the library accepts.
    """
    setup = SETUPS[spec.name]
    if setup.asset is not None:
        _require_asset(spec, setup.asset)
    choose_graphics()  # it imports MuJoCo, for its kinematics
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports use what other packages deprecate
        from reverie.envs.domains.maniskill.game import ManiSkillGame
    return GameEnv(spec, frame_spec, ManiSkillGame(setup, spec.score_rule, frame_spec))


def make_controller(spec: TaskSpec) -> Controller:
    """Return the scripted expert of a task."""
    from reverie.envs.domains.maniskill.experts import CONTROLLERS

    return CONTROLLERS[spec.name]


def has_assets(task: str) -> bool:
    """Tell whether all that a task downloads is on this machine. Imports no simulator."""
    asset = SETUPS[task].asset
    return asset is None or asset_folder(asset).is_dir()


def asset_folder(asset: str) -> Path:
    """Return where the library keeps an asset on this machine, there or not."""
    root = Path(os.environ.get("MS_ASSET_DIR", "~/.maniskill")).expanduser()
    return root / "data" / ASSET_FOLDERS[asset]


def _require_asset(spec: TaskSpec, asset: str) -> None:
    if not has_assets(spec.name):
        raise MissingAssetError(
            f"The task '{spec.name}' needs the ManiSkill asset '{asset}', looked for in "
            f"{asset_folder(asset)}. Run: {spec.assets} (needs network), or choose a task that "
            f"needs no assets: 'reverie tasks list' shows them."
        )
