"""One ManiSkill task as a game; snapshots replay the episode from its seed."""

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float32, UInt8
from mani_skill import logger
from mani_skill.utils.wrappers.gymnasium import CPUGymWrapper

from reverie.core.errors import MissingDriverError
from reverie.core.types import FrameSpec
from reverie.envs.domains.maniskill import own_tasks as _own_tasks  # noqa: F401 - registers
from reverie.envs.domains.maniskill.setups import Setup

REPEAT = 2
"""Library steps per agent step, with the same action; their rewards are summed."""
NUM_SEEDS = 2**31
FULL_RETURNS = {"return / 1000": 1000.0, "clip(return / 1000, 0, 1)": 1000.0, "return / 600": 600.0}
"""Return that scores 1, by score rule; other tasks score by success."""
_NO_DEVICE = "Failed to find a supported physical device"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReplayState:
    """An episode so far. The library's own snapshots drift: by 1e-5, by 0.6 for the ants."""

    seed: int
    actions: Float32[np.ndarray, "t a"]


class ManiSkillGame:
    """A ManiSkill task on the CPU."""

    def __init__(self, setup: Setup, score_rule: str, frame_spec: FrameSpec) -> None:
        """Build the scene.

        Raises:
            MissingDriverError: There is no Vulkan driver that the library accepts.
        """
        self._env = _make(setup, frame_spec)
        self._full_return = FULL_RETURNS.get(score_rule)
        self._replay(ReplayState(seed=0, actions=np.zeros((0, 0), dtype=np.float32)))

    @property
    def state(self) -> ReplayState:
        """The seed and all actions since; restoring steps through them again."""
        width = self._env.action_space.shape[0]
        actions = np.array(self._actions, dtype=np.float32).reshape(-1, width)
        return ReplayState(seed=self._seed, actions=actions)

    @state.setter
    def state(self, state: ReplayState) -> None:
        self._replay(state)

    def reset(self, rng: np.random.Generator) -> None:
        """Place everything."""
        self._start(int(rng.integers(NUM_SEEDS)))

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Advance by two library steps; return the summed normalised reward."""
        self._actions.append(action.copy())
        return sum(self._step_once(action) for _ in range(REPEAT))

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the task's own camera for people."""
        return np.array(self._env.render(), dtype=np.uint8)

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return the library's state observation."""
        return self._vector.astype(np.float32)

    def score(self, total_reward: float) -> float:
        """Return success at this moment, or the return of a task that has one."""
        if self._full_return is None:
            return float(self._is_success)
        return min(max(total_reward / self._full_return, 0.0), 1.0)

    def is_success(self) -> bool:
        """Tell whether the library calls the task solved at this moment."""
        return self._is_success

    def is_over(self) -> bool:
        """Never: only the time limit ends an episode."""
        return False

    def close(self) -> None:
        """Release the scene."""
        self._env.close()

    def _step_once(self, action: Float32[np.ndarray, " a"]) -> float:
        self._vector, reward, _, _, info = self._env.step(action)
        self._is_success = bool(info.get("success", False))
        return float(reward)

    def _start(self, seed: int) -> None:
        self._seed, self._actions = seed, []
        # PhysX keeps contacts and the order of its bodies from episode to episode, which moved
        # later episodes of one seed by up to 0.1: every episode gets a scene of its own.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # gymnasium on the precision of its action bounds
            self._vector, _ = self._env.reset(seed=seed, options={"reconfigure": True})
        self._is_success = False

    def _replay(self, state: ReplayState) -> None:
        self._start(state.seed)
        rng = np.random.default_rng(0)  # step draws nothing
        for action in state.actions:
            self.step(action, rng)


def _make(setup: Setup, frame_spec: FrameSpec) -> Any:
    options: dict[str, Any] = {"control_mode": setup.control} if setup.control else {}
    options |= {"robot_uids": setup.robot} if setup.robot else {}
    options |= {"model": setup.model} if setup.model else {}
    camera = {"width": frame_spec.width_px, "height": frame_spec.height_px}
    # It warns of its own models' missing poses, and gymnasium of its action bounds' precision.
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = gymnasium.make(
                setup.id,
                obs_mode="state",
                render_mode="rgb_array",
                render_backend="cpu",
                num_envs=1,
                human_render_camera_configs=camera,
                **options,
            )
        except RuntimeError as error:
            if _NO_DEVICE not in str(error):
                raise
            raise MissingDriverError(
                f"ManiSkill found no Vulkan device that sapien accepts. Install "
                f"mesa-vulkan-drivers >= 25 (Debian 12: from bookworm-backports). The library "
                f"said: {error}"
            ) from error
        return CPUGymWrapper(made, ignore_terminations=True, record_metrics=False)
