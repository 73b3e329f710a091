"""The ant on an open floor: running in a direction, and pushing a ball."""

from dataclasses import dataclass
from typing import Any

import mujoco as mujoco_package
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from reverie.core.types import FrameSpec, RenderQuality
from reverie.envs.domains.ogbench.mazes import PHYSICS_STEPS, START_NOISE
from reverie.envs.domains.ogbench.scenes import make_ant_ball_model, make_ant_model
from reverie.envs.mujoco_renderer import FreeCamera, MujocoRenderer
from reverie.envs.mujoco_state import PhysicsState, restore_physics, save_physics

mujoco: Any = mujoco_package  # its C functions are not annotated

DIRECTION_STEPS = 100
"""Steps after which another direction is asked for."""
FULL_RETURN = 250.0
"""Way in the asked direction that scores 1."""
BALL_CAMERA = FreeCamera(look_at=(0.0, 0.0, 0.75), distance=8.0, elevation_deg=-90.0)
ANT_SPAN, BALL_SPAN, GOAL_SPAN = 1.0, 2.0, 3.0
"""Ant, ball and goal start within so much of the middle, per axis."""
BALL_TOLERANCE = 0.5
BALL_GAIN, ANT_GAIN = 25.0, 10.0
"""Reward per metre that the ball comes closer to the goal, and the ant to the ball."""


@dataclass(kw_only=True, slots=True, eq=False)
class FieldState:
    """All that an episode needs to go on."""

    physics: PhysicsState
    aim: Float64[np.ndarray, " 2"]
    """The asked direction (running) or the place of the goal (ball)."""
    num_steps: int


class FieldGame:
    """What both tasks share: the ant, its physics and its picture."""

    def __init__(
        self, task: "RunTask | BallTask", frame_spec: FrameSpec, quality: RenderQuality
    ) -> None:
        """Build the scene of a task."""
        self._task = task
        self._model = task.make_model()
        self._data = mujoco.MjData(self._model)
        self._renderer = MujocoRenderer(
            self._model, frame_spec, camera=task.camera, quality=quality
        )
        self._start_qpos = self._data.qpos.copy()
        self._aim, self._num_steps = np.zeros(2), 0

    @property
    def state(self) -> FieldState:
        """Everything that changes during an episode."""
        physics = save_physics(self._model, self._data)
        return FieldState(physics=physics, aim=self._aim, num_steps=self._num_steps)

    @state.setter
    def state(self, state: FieldState) -> None:
        self._num_steps = state.num_steps
        self._set_aim(state.aim)
        restore_physics(self._model, self._data, state.physics)

    def reset(self, rng: np.random.Generator) -> None:
        """Place what the task has, and draw its aim."""
        mujoco.mj_resetData(self._model, self._data)
        noise = rng.uniform(-START_NOISE, START_NOISE, self._model.nq)
        self._data.qpos[:] = self._start_qpos + noise
        self._data.qvel[:] = START_NOISE * rng.standard_normal(self._model.nv)
        self._num_steps = 0
        self._set_aim(self._task.place(self._data, rng))
        mujoco.mj_forward(self._model, self._data)

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Move the ant; return the task's reward."""
        before = self._task.progress(self._data, self._aim)
        self._data.ctrl[:] = action
        mujoco.mj_step(self._model, self._data, nstep=PHYSICS_STEPS)
        reward = self._task.progress(self._data, self._aim) - before
        self._num_steps += 1
        if self._task.is_aim_over(self._num_steps):
            self._set_aim(draw_direction(rng))
        return reward

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the scene."""
        return self._renderer.draw(self._data)

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return the ant without its place, and what the task adds (running 29, ball 42 values)."""
        return self._task.vector(self._data, self._aim).astype(np.float32)

    def score(self, total_reward: float) -> float:
        """Return the task's score."""
        return self._task.score(total_reward, is_success=self.is_success())

    def is_success(self) -> bool:
        """Tell whether the task's goal is reached; running has none."""
        return self._task.is_success(self._data, self._aim)

    def is_over(self) -> bool:
        """Never: only the time limit ends an episode."""
        return False

    def close(self) -> None:
        """Release the picture."""
        self._renderer.close()

    def _set_aim(self, aim: Float64[np.ndarray, " 2"]) -> None:
        self._aim = aim
        self._task.show(self._model, aim)


def draw_direction(rng: np.random.Generator) -> Float64[np.ndarray, " 2"]:
    """Draw a direction of length one."""
    direction = rng.standard_normal(2)
    return direction / np.linalg.norm(direction)


class RunTask:
    """Run in a direction that changes every hundred steps and is not in the picture."""

    camera = "track"

    def make_model(self) -> Any:
        """Build the open floor."""
        return make_ant_model()

    def place(self, data: Any, rng: np.random.Generator) -> Float64[np.ndarray, " 2"]:
        """Draw the first direction."""
        return draw_direction(rng)

    def show(self, model: Any, aim: Float64[np.ndarray, " 2"]) -> None:
        """Show nothing: only the state vector holds the direction."""

    def progress(self, data: Any, aim: Float64[np.ndarray, " 2"]) -> float:
        """Return the way made in the asked direction; its growth is the reward."""
        return float(data.qpos[:2] @ aim)

    def is_aim_over(self, num_steps: int) -> bool:
        """Tell whether another direction is due."""
        return num_steps % DIRECTION_STEPS == 0

    def vector(self, data: Any, aim: Float64[np.ndarray, " 2"]) -> Float64[np.ndarray, " n"]:
        """Return pose, speeds and direction."""
        return np.concatenate((data.qpos[2:], data.qvel, aim))

    def is_success(self, data: Any, aim: Float64[np.ndarray, " 2"]) -> bool:
        """Never: running has no goal."""
        return False

    def score(self, total_reward: float, *, is_success: bool) -> float:
        """Return the way made, of 250 m."""
        return min(max(total_reward / FULL_RETURN, 0.0), 1.0)


class BallTask:
    """Push a ball to a disc."""

    camera = BALL_CAMERA

    def make_model(self) -> Any:
        """Build the floor with ball and disc."""
        return make_ant_ball_model()

    def place(self, data: Any, rng: np.random.Generator) -> Float64[np.ndarray, " 2"]:
        """Place ant and ball, and draw the goal."""
        data.qpos[:2] = rng.uniform(-ANT_SPAN, ANT_SPAN, 2)
        _ball(data)[:] = rng.uniform(-BALL_SPAN, BALL_SPAN, 2)
        return rng.uniform(-GOAL_SPAN, GOAL_SPAN, 2)

    def show(self, model: Any, aim: Float64[np.ndarray, " 2"]) -> None:
        """Move the disc onto the goal."""
        model.geom("target").pos[:2] = aim

    def progress(self, data: Any, aim: Float64[np.ndarray, " 2"]) -> float:
        """Return what is not left of both distances; its growth is the reward."""
        to_goal = float(np.linalg.norm(_ball(data) - aim))
        to_ball = float(np.linalg.norm(data.qpos[:2] - _ball(data)))
        return -BALL_GAIN * to_goal - ANT_GAIN * to_ball

    def is_aim_over(self, num_steps: int) -> bool:
        """Never: the goal stays for the whole episode."""
        return False

    def vector(self, data: Any, aim: Float64[np.ndarray, " 2"]) -> Float64[np.ndarray, " n"]:
        """Return poses, speeds, the ball from the ant and the goal from the ball."""
        ball = _ball(data)
        body = (data.qpos[2:-7], data.qpos[-5:], data.qvel)
        return np.concatenate((*body, ball - data.qpos[:2], aim - ball))

    def is_success(self, data: Any, aim: Float64[np.ndarray, " 2"]) -> bool:
        """Tell whether the ball is on the goal."""
        return float(np.linalg.norm(_ball(data) - aim)) <= BALL_TOLERANCE

    def score(self, total_reward: float, *, is_success: bool) -> float:
        """Return 1 while the ball is on the goal."""
        return float(is_success)


def _ball(data: Any) -> Any:
    return data.qpos[-7:-5]
