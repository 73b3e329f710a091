"""One RoboDesk task as a game, with the library's own pictures and global draws fenced off."""

import importlib
import sys
from dataclasses import dataclass
from typing import Any

import gymnasium
import mujoco as mujoco_package
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from reverie.core.types import FrameSpec, RenderQuality
from reverie.envs.global_rng import seeded_global_rng
from reverie.envs.mujoco_renderer import FreeCamera, MujocoRenderer
from reverie.envs.mujoco_state import PhysicsState, restore_physics, save_physics

mujoco: Any = mujoco_package  # its C functions are not annotated

CAMERA = FreeCamera(look_at=(0.0, 0.535, 1.1), distance=1.4, elevation_deg=-60.0)
"""The library's, moved closer (from 1.8) by the benchmark."""
REPEAT = 10
"""Library steps per agent step, with the same action; their rewards are summed."""
NUM_ROBOT_JOINTS = 9
NUM_LANES = 5
NUM_SEEDS = 2**32


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DeskState:
    """All that an episode needs to go on."""

    physics: PhysicsState
    twin_qpos: Float64[np.ndarray, " q"]
    """Pose of the copy of the scene in which the library solves for joint angles."""
    num_steps: int


class DeskGame:
    """A task of RoboDesk with its dense reward."""

    def __init__(self, task: str, frame_spec: FrameSpec, quality: RenderQuality) -> None:
        """Build the desk for a task, named as in the library, such as ``"open_drawer"``."""
        library = _import_robodesk()
        self._env = library.RoboDesk(
            task=task, reward="dense", action_repeat=REPEAT, episode_length=None
        )
        # The library draws a picture for every observation, at a tenth of our speed.
        self._env._get_obs = dict
        self._model = self._env.physics.model._model
        self._data = self._env.physics.data._data
        self._renderer = MujocoRenderer(self._model, frame_spec, camera=CAMERA, quality=quality)
        self._task = task
        self._origin = _pose_of_zeros(self._model)
        self.reset(np.random.default_rng(0))

    @property
    def state(self) -> DeskState:
        """Everything that changes during an episode."""
        return DeskState(
            physics=save_physics(self._model, self._data),
            twin_qpos=self._env.physics_copy.data.qpos.copy(),
            num_steps=self._env.num_steps,
        )

    @state.setter
    def state(self, state: DeskState) -> None:
        restore_physics(self._model, self._data, state.physics)
        self._env.physics_copy.data.qpos[:] = state.twin_qpos
        self._env.num_steps = state.num_steps

    def reset(self, rng: np.random.Generator) -> None:
        """Place drawer, slide, blocks and arm, and let one idle step pass."""
        with seeded_global_rng(int(rng.integers(NUM_SEEDS))):
            self._env.reset()
        self._env.step(np.zeros(NUM_LANES))

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Move the end effector by up to 1 cm per lane and library step."""
        _, reward, _, _ = self._env.step(action.astype(np.float64))
        return float(reward)

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the desk."""
        return self._renderer.draw(self._data)

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return joints and speeds of the robot, end effector, objects and speeds (73 values)."""
        qpos, qvel = self._data.qpos, self._data.qvel
        hand = self._env.physics.named.data.site_xpos["end_effector"]
        cut = NUM_ROBOT_JOINTS
        # The library's own ``qpos_objects`` holds their speeds by mistake.
        # Differences turn the blocks' quaternions into rotation vectors, hence 26 values.
        objects = np.empty(self._model.nv)
        mujoco.mj_differentiatePos(self._model, objects, 1.0, self._origin, qpos)
        parts: tuple[Any, ...] = (qpos[:cut], qvel[:cut], hand, objects[cut:], qvel[cut:])
        return np.concatenate(parts).astype(np.float32)

    def score(self, total_reward: float) -> float:
        """Return 1 if the task is solved at this moment."""
        return float(self.is_success())

    def is_success(self) -> bool:
        """Tell whether the library's criterion of success holds at this moment."""
        return bool(self._env.reward_functions[self._task]("success"))

    def is_over(self) -> bool:
        """Never: only the time limit ends an episode."""
        return False

    def close(self) -> None:
        """Release the picture."""
        self._renderer.close()


def _pose_of_zeros(model: Any) -> Float64[np.ndarray, " q"]:
    pose = np.zeros(model.nq)
    is_free = model.jnt_type == mujoco.mjtJoint.mjJNT_FREE
    pose[model.jnt_qposadr[is_free] + 3] = 1.0
    return pose


def _import_robodesk() -> Any:
    # It wants the old gym, which prints a banner and needs nothing that gymnasium lacks here.
    kept = sys.modules.get("gym")
    sys.modules["gym"] = gymnasium
    try:
        return importlib.import_module("robodesk.robodesk")
    finally:
        if kept is None:
            del sys.modules["gym"]
        else:
            sys.modules["gym"] = kept
