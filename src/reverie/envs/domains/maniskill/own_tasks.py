"""The tasks that the benchmark adds to the library: reach, sparse cartpoles, single YCB objects."""

from typing import Any

import numpy as np
import sapien
from mani_skill.envs.tasks.control.cartpole import CartpoleBalanceEnv, CartpoleSwingUpEnv
from mani_skill.envs.tasks.tabletop.pick_cube import PickCubeEnv
from mani_skill.envs.tasks.tabletop.pick_single_ycb import PickSingleYCBEnv
from mani_skill.envs.tasks.tabletop.push_cube import PushCubeEnv
from mani_skill.envs.utils.randomization import uniform
from mani_skill.utils.building import actors
from mani_skill.utils.common import to_tensor
from mani_skill.utils.registration import register_env
from mani_skill.utils.scene_builder.table import TableSceneBuilder
from mani_skill.utils.structs.pose import Pose

UPRIGHT = 0.85
"""A pole counts as up where (1 + cos angle) / 2 exceeds this."""
REACH_LOW, REACH_HIGH = (-0.1, -0.1, 0.0), (0.1, 0.1, 0.3)
"""Corners of the box that goals of the reach task are drawn from."""
YCB_HALF_SIZE = 0.04
"""What the push task takes half the size of its object to be."""


def _upright(env: Any) -> Any:
    return ((1.0 + env.pole_angle_cosine) / 2.0 > UPRIGHT).float()


@register_env("ReverieCartpoleBalanceSparse-v1", max_episode_steps=1000)
class SparseBalanceEnv(CartpoleBalanceEnv):
    """The library's balance task; one for an upright pole, else nothing."""

    def compute_dense_reward(self, obs: Any, action: Any, info: dict[str, Any]) -> Any:
        """Pay for an upright pole."""
        return _upright(self)


@register_env("ReverieCartpoleSwingUpSparse-v1", max_episode_steps=1000)
class SparseSwingUpEnv(CartpoleSwingUpEnv):
    """The library's swing-up task; one for an upright pole, else nothing."""

    def compute_dense_reward(self, obs: Any, action: Any, info: dict[str, Any]) -> Any:
        """Pay for an upright pole."""
        return _upright(self)


@register_env("ReverieReach-v1", max_episode_steps=50)
class ReachEnv(PickCubeEnv):
    """Bring the hand into a green sphere above an empty table."""

    def _load_scene(self, options: dict[str, Any]) -> None:
        self.table_scene = TableSceneBuilder(self, robot_init_qpos_noise=self.robot_init_qpos_noise)
        self.table_scene.build()
        self.goal_site = actors.build_sphere(
            self.scene,
            radius=self.goal_thresh,
            color=[0, 1, 0, 1],
            name="goal_site",
            body_type="kinematic",
            add_collision=False,
            initial_pose=sapien.Pose(),
        )
        self._hidden_objects.append(self.goal_site)

    def _initialize_episode(self, env_idx: Any, options: dict[str, Any]) -> None:
        self.table_scene.initialize(env_idx)
        low: Any = to_tensor(list(REACH_LOW))
        high: Any = to_tensor(list(REACH_HIGH))
        goals = uniform(low, high, size=(len(env_idx), 3))
        self.goal_site.set_pose(Pose.create_from_pq(goals))

    def _gap(self) -> Any:
        return self.goal_site.pose.p - self.agent.tcp_pose.p

    def _get_obs_extra(self, info: dict[str, Any]) -> dict[str, Any]:
        return {
            "tcp_pose": self.agent.tcp_pose.raw_pose,
            "goal_pos": self.goal_site.pose.p,
            "tcp_to_goal_pos": self._gap(),
        }

    def evaluate(self) -> dict[str, Any]:
        """Tell whether the hand is in the sphere."""
        return {"success": self._gap().norm(dim=1) <= self.goal_thresh}

    def compute_dense_reward(self, obs: Any, action: Any, info: dict[str, Any]) -> Any:
        """Pay closeness, and as much again for being there; five times, as the library wants."""
        closeness = 1.0 - (5.0 * self._gap().norm(dim=1)).tanh()
        return 5.0 * (closeness + info["success"])


@register_env("ReveriePickYCB-v1", max_episode_steps=50)
class PickOneYCBEnv(PickSingleYCBEnv):
    """The library's pick task with always the same object."""

    def __init__(self, *args: Any, model: str, **kwargs: Any) -> None:
        """Choose the object."""
        self._model = model
        # One object never changes, so the scene need not be built anew at each reset.
        super().__init__(*args, reconfiguration_freq=0, **kwargs)

    def _load_scene(self, options: dict[str, Any]) -> None:
        self.all_model_ids = np.array([self._model])
        super()._load_scene(options)


@register_env("ReveriePushYCB-v1", max_episode_steps=50)
class PushYCBEnv(PushCubeEnv):
    """The library's push task with a YCB object in the cube's place."""

    cube_half_size = YCB_HALF_SIZE

    def __init__(self, *args: Any, model: str, **kwargs: Any) -> None:
        """Choose the object."""
        self._model = model
        super().__init__(*args, **kwargs)

    def _load_scene(self, options: dict[str, Any]) -> None:
        self.table_scene = TableSceneBuilder(
            env=self, robot_init_qpos_noise=self.robot_init_qpos_noise
        )
        self.table_scene.build()
        builder: Any = actors.get_actor_builder(self.scene, id=f"ycb:{self._model}")
        builder.initial_pose = sapien.Pose(p=[0.0, 0.0, YCB_HALF_SIZE])
        self.obj = builder.build(name=self._model)
        self.goal_region = actors.build_red_white_target(
            self.scene,
            radius=self.goal_radius,
            thickness=1e-5,
            name="goal_region",
            add_collision=False,
            body_type="kinematic",
            initial_pose=sapien.Pose(p=[0.0, 0.0, 1e-3]),
        )
