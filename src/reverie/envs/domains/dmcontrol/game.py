"""Any task in the manner of the DeepMind Control Suite, as a game."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from reverie.envs.mujoco_renderer import MujocoRenderer
from reverie.envs.mujoco_state import PhysicsState, restore_physics, save_physics

REPEAT = 2
"""Control steps per agent step, with the same action; their rewards are summed."""
FULL_RETURN = 1000.0
"""Every control step pays at most 1, and an episode has so many."""
NUM_SEEDS = 2**32
"""A ``RandomState`` takes seeds below this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteScene:
    """The parts of a suite task; the suite's own environment and clock are left out.

    Its time limit of 1000 control steps equals ours of 500 agent steps, and no task here ends
    earlier.
    """

    physics: Any
    """A ``dm_control.mujoco.Physics``."""
    task: Any
    """A ``dm_control.rl.control.Task``: how an episode begins, what is observed."""
    reward: Callable[[Any], float]
    """Pays for one control step, given the physics after it."""
    num_substeps: int
    """Simulator steps per control step."""


def to_scene(environment: Any) -> SuiteScene:
    """Take a stock ``control.Environment`` apart."""
    return SuiteScene(
        physics=environment.physics,
        task=environment.task,
        reward=environment.task.get_reward,
        num_substeps=environment._n_sub_steps,
    )


class SuiteGame:
    """A suite task: the suite's physics and rules, our renderer, snapshots and seeds."""

    def __init__(self, scene: SuiteScene, renderer: MujocoRenderer) -> None:
        """Take over a scene and the renderer of its model."""
        self._scene = scene
        self.physics = scene.physics
        self._model, self._data = unwrap_physics(scene.physics)
        self._renderer = renderer
        bounds = scene.task.action_spec(scene.physics)
        self._low: Float64[np.ndarray, " a"] = bounds.minimum
        self._span: Float64[np.ndarray, " a"] = bounds.maximum - bounds.minimum
        self.reset(np.random.default_rng(0))

    @property
    def state(self) -> PhysicsState:
        """Everything that changes during an episode."""
        return save_physics(self._model, self._data)

    @state.setter
    def state(self, state: PhysicsState) -> None:
        restore_physics(self._model, self._data, state)

    def reset(self, rng: np.random.Generator) -> None:
        """Seed the task's own generator and begin an episode by its rules."""
        self._scene.task.random.seed(int(rng.integers(NUM_SEEDS)))
        with self.physics.reset_context():
            self._scene.task.initialize_episode(self.physics)

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Hold an action, scaled to the bounds of the actuators, for two control steps."""
        control = self._low + 0.5 * (action.astype(np.float64) + 1.0) * self._span
        scene, reward = self._scene, 0.0
        for _ in range(REPEAT):
            scene.task.before_step(control, self.physics)
            self.physics.step(scene.num_substeps)
            scene.task.after_step(self.physics)
            reward += float(scene.reward(self.physics))
        return reward

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the scene."""
        return self._renderer.draw(self._data)

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return the task's observations, one after the other."""
        parts = self._scene.task.get_observation(self.physics).values()
        return np.concatenate([np.ravel(part) for part in parts]).astype(np.float32)

    def score(self, total_reward: float) -> float:
        """Return the mean reward of a full episode."""
        return min(max(total_reward / FULL_RETURN, 0.0), 1.0)

    def is_success(self) -> bool:
        """Never: the suite knows no success."""
        return False

    def is_over(self) -> bool:
        """Never: only the time limit ends an episode."""
        return False

    def close(self) -> None:
        """Release the picture and the physics."""
        self._renderer.close()
        self.physics.free()


def unwrap_physics(physics: Any) -> tuple[Any, Any]:
    """Return the ``MjModel`` and ``MjData`` inside dm_control's physics."""
    return physics.model._model, physics.data._data
