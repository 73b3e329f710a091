"""One Meta-World task as a game: the Sawyer arm, its goal in sight, the benchmark's settings."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import mujoco as mujoco_package
import numpy as np
from jaxtyping import Float32, Float64, UInt8
from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
from metaworld.utils.reward_utils import hamacher_product

from reverie.core.types import FrameSpec, RenderQuality
from reverie.envs.mujoco_renderer import MujocoRenderer
from reverie.envs.mujoco_state import PhysicsState, restore_physics, save_physics

mujoco: Any = mujoco_package  # its C functions are not annotated

WELD_TORQUE_SCALE = 3.75
"""Torque scale of the weld that drags the hand. The package has 5.0, with which the hand ends up
millimetres to 15 cm away from where the benchmark's version has it."""
CAMERA = "corner4"
"""The package's ``corner2`` where the benchmark moved it; it is rolled by half a turn."""
REPEAT = 2
"""Steps of the package per agent step, with the same action; their rewards are summed."""
NUM_SEEDS = 2**31
_RESTORED = "button-press-topdown-wall"
_MEMORY = ("_prev_obs", "_last_stable_obs", "curr_path_length")
"""Attributes of the package that change from step to step."""
_SCENERY = ("body_pos", "body_quat", "site_pos", "geom_pos", "geom_rgba")
"""Fields of the model that a reset may write into."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SawyerState:
    """All that an episode needs to go on, given the seed that placed its scene."""

    seed: int
    physics: PhysicsState
    memory: dict[str, Any]
    observation: Float64[np.ndarray, " o"]
    is_success: bool


class SawyerGame:
    """A Meta-World task as the benchmark uses it: another goal, and a zero action, every reset."""

    def __init__(self, name: str, frame_spec: FrameSpec, quality: RenderQuality) -> None:
        """Build the scene of a task, named as in the package, such as ``"drawer-open"``."""
        scene: Any = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{name}-v3-goal-observable"]
        env = scene(seed=0)
        env.model.eq_data[env.model.eq_type == mujoco.mjtEq.mjEQ_WELD, 10] = WELD_TORQUE_SCALE
        env._freeze_rand_vec, env.seeded_rand_vec = False, True
        self._env, self._is_restored = env, name == _RESTORED
        self._scenery = {field: getattr(env.model, field).copy() for field in _SCENERY}
        # Objects and floor reflect, and none of it is seen from here: a fifth of the drawing.
        self._renderer = MujocoRenderer(
            env.model, frame_spec, camera=CAMERA, quality=quality, has_mirrors=False
        )
        self._place(0)

    @property
    def state(self) -> SawyerState:
        """Everything that changes during an episode."""
        env = self._env
        return SawyerState(
            seed=self._seed,
            physics=save_physics(env.model, env.data),
            memory={name: deepcopy(getattr(env, name)) for name in _MEMORY},
            observation=self._observation,
            is_success=self._is_success,
        )

    @state.setter
    def state(self, state: SawyerState) -> None:
        if state.seed != self._seed:
            self._place(state.seed)
        restore_physics(self._env.model, self._env.data, state.physics)
        for name, value in state.memory.items():
            setattr(self._env, name, deepcopy(value))
        self._observation, self._is_success = state.observation, state.is_success

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the scene and the goal."""
        self._place(int(rng.integers(NUM_SEEDS)))

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Move the hand by up to 1 cm per lane and library step; return the summed reward."""
        return sum(self._step_once(action) for _ in range(REPEAT))

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the scene as released: turned over vertically only, so a mirror image."""
        return np.ascontiguousarray(self._renderer.draw(self._env.data)[::-1])

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return hand, gripper and objects, now and one step ago, and the goal (39 values)."""
        return self._observation.astype(np.float32)

    def score(self, total_reward: float) -> float:
        """Return 1 if the task counts as solved at this moment."""
        return float(self._is_success)

    def is_success(self) -> bool:
        """Tell whether the task counts as solved at this moment."""
        return self._is_success

    def is_over(self) -> bool:
        """Never: only the time limit ends an episode."""
        return False

    def close(self) -> None:
        """Release the picture."""
        self._renderer.close()

    def _place(self, seed: int) -> None:
        # A reset of the package starts from what the last episode left; begin from the same.
        for field, values in self._scenery.items():
            getattr(self._env.model, field)[:] = values
        mujoco.mj_resetData(self._env.model, self._env.data)
        self._env.seed(seed)
        self._env.reset()
        self._seed = seed
        # Positions of bodies are refreshed only by a step: nothing may be seen before this one.
        self._step_once(np.zeros(4, dtype=np.float32))

    def _step_once(self, action: Float32[np.ndarray, " a"]) -> float:
        self._observation, reward, _, _, info = self._env.step(action)
        self._is_success = bool(info["success"])
        if self._is_restored:
            reward += self._restored_term(float(info["grasp_reward"]))
        return float(reward)

    def _restored_term(self, nearness: float) -> float:
        # The third version pays for an open gripper here, the second for a closed one.
        opening = float(self._observation[3])
        paid = hamacher_product(max(opening, 0.0), nearness)
        return 5.0 * (hamacher_product(1.0 - opening, nearness) - paid)
