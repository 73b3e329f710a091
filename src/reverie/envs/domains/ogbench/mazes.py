"""A point or an ant that has to get to the red disc in a maze."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import mujoco as mujoco_package
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from reverie.core.types import FrameSpec, RenderQuality
from reverie.envs.domains.ogbench.maps import Maze, centre_of
from reverie.envs.domains.ogbench.scenes import make_maze_model
from reverie.envs.mujoco_renderer import FreeCamera, MujocoRenderer
from reverie.envs.mujoco_state import PhysicsState, restore_physics, save_physics

mujoco: Any = mujoco_package  # its C functions are not annotated

Body = Literal["point", "ant"]

CAMERA = FreeCamera(look_at=(10.0, 10.0, 0.0), distance=30.0, elevation_deg=-90.0)
REPEAT = {"point": 4, "ant": 2}
"""Library steps per agent step."""
TOLERANCE = {"point": 1.0, "ant": 0.5}
"""Distance from the goal's middle that counts as there."""
PHYSICS_STEPS = 5
"""MuJoCo steps per library step."""
POINT_STEP = 0.2
"""Way of the point per library step at full action."""
PLACE_NOISE = 1.0
"""Start and goal lie up to so far from the middle of their cells, per axis."""
START_NOISE = 0.1
"""Spread of joints and speeds at the start."""
SCALE = 20.0
"""Divides rewards and state vectors."""
POINT_COST, ANT_COST = 0.025, 0.001
"""Price of the way of the last library step, and of the length of the vector of speeds."""


@dataclass(kw_only=True, slots=True, eq=False)
class MazeState:
    """All that an episode needs to go on."""

    physics: PhysicsState
    goal: Float64[np.ndarray, " 2"]
    last_way: Float64[np.ndarray, " 2"]
    """Displacement of the last library step."""


class MazeGame:
    """A maze of OGBench under the benchmark's rules; reaching the goal ends nothing."""

    def __init__(
        self, maze: Maze, body: Body, frame_spec: FrameSpec, quality: RenderQuality
    ) -> None:
        """Build the maze with a body in it."""
        self._maze, self._body = maze, body
        self._model = make_maze_model(body, maze)
        self._data = mujoco.MjData(self._model)
        self._renderer = MujocoRenderer(self._model, frame_spec, camera=CAMERA, quality=quality)
        self._start_qpos = self._data.qpos.copy()
        self._set_goal(np.zeros(2))
        self._last_way = np.zeros(2)

    @property
    def state(self) -> MazeState:
        """Everything that changes during an episode."""
        return MazeState(
            physics=save_physics(self._model, self._data),
            goal=self._goal,
            last_way=self._last_way,
        )

    @state.setter
    def state(self, state: MazeState) -> None:
        self._set_goal(state.goal)
        self._last_way = state.last_way
        restore_physics(self._model, self._data, state.physics)

    def reset(self, rng: np.random.Generator) -> None:
        """Draw a start and a goal."""
        start, goal = self._maze.pairs[int(rng.integers(len(self._maze.pairs)))]
        places = np.array([centre_of(start), centre_of(goal)])
        places += rng.uniform(-PLACE_NOISE, PLACE_NOISE, places.shape)
        mujoco.mj_resetData(self._model, self._data)
        noise = rng.uniform(-START_NOISE, START_NOISE, self._model.nq)
        self._data.qpos[:] = self._start_qpos + noise
        self._data.qpos[:2] = places[0]
        self._data.qvel[:] = START_NOISE * rng.standard_normal(self._model.nv)
        self._set_goal(places[1])
        self._last_way = np.zeros(2)
        mujoco.mj_forward(self._model, self._data)

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Move, and pay for the distance that is left."""
        for _ in range(REPEAT[self._body]):
            before = self._data.qpos[:2].copy()
            self._step_once(action)
            self._last_way = self._data.qpos[:2] - before
        gap = self._gap()
        if self._body == "point":
            cost = POINT_COST * float(np.linalg.norm(self._last_way))
        else:
            cost = ANT_COST * float(np.linalg.norm(self._data.qvel))
        distance = 0.5 * float(np.abs(gap).sum()) + 0.5 * math.hypot(*gap)
        return float(self.is_success()) - (distance + cost) / SCALE

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the maze from above."""
        return self._renderer.draw(self._data)

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return the body, its place, the goal and the gap between them, all divided by 20."""
        gap, place = self._gap(), self._data.qpos[:2]
        body = (place, self._last_way)
        if self._body == "ant":
            body = (self._data.qpos, self._data.qvel, place)
        values = (*body, self._goal, gap, [math.hypot(*gap)])
        return (np.concatenate(values) / SCALE).astype(np.float32)

    def score(self, total_reward: float) -> float:
        """Return 1 on the goal."""
        return float(self.is_success())

    def is_success(self) -> bool:
        """Tell whether the body is on the goal at this moment."""
        return math.hypot(*self._gap()) <= TOLERANCE[self._body]

    def is_over(self) -> bool:
        """Never: only the time limit ends an episode."""
        return False

    def close(self) -> None:
        """Release the picture."""
        self._renderer.close()

    def _step_once(self, action: Float32[np.ndarray, " a"]) -> None:
        if self._body == "point":
            self._data.qpos[:] += POINT_STEP * action.astype(np.float64)
            self._data.qvel[:] = 0.0
        else:
            self._data.ctrl[:] = action
        mujoco.mj_step(self._model, self._data, nstep=PHYSICS_STEPS)

    def _gap(self) -> Float64[np.ndarray, " 2"]:
        return self._data.qpos[:2] - self._goal

    def _set_goal(self, goal: Float64[np.ndarray, " 2"]) -> None:
        self._goal = goal
        self._model.geom("target").pos[:2] = goal
