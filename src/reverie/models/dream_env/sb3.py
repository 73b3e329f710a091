"""A batch of dreams as stable-baselines3 wants it; its algorithms train on it unmodified."""

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from reverie.core.errors import ConfigError
from reverie.core.registry import require_extra
from reverie.models.dream_env.vector import DreamVectorEnv


def make_sb3_env(env: DreamVectorEnv) -> Any:
    """Wrap a ``DreamVectorEnv`` as a ``VecEnv`` of stable-baselines3.

    A truncated dream says so in ``infos[row]["TimeLimit.truncated"]``, and its last observation is
    in ``"terminal_observation"``, from which the algorithms bootstrap the value: a cut is no death.

    Args:
        env: In the mode ``AutoresetMode.SAME_STEP``, which is how stable-baselines3 resets.

    Raises:
        MissingExtraError: stable-baselines3 is not installed.
        ConfigError: The environment resets in another mode.
    """
    base: Any = require_extra(
        "stable_baselines3.common.vec_env", "rl", "train with stable-baselines3"
    )
    if env.autoreset_mode != AutoresetMode.SAME_STEP:
        raise ConfigError(
            f"stable-baselines3 resets in the same step, this environment in mode "
            f"{env.autoreset_mode.value}. Make it with autoreset_mode=AutoresetMode.SAME_STEP."
        )

    return _vec_env_type(base)(env)


def _vec_env_type(base: Any) -> Any:  # noqa: C901
    # Made here, because its base class is optional; one method per method of that class.
    class DreamVecEnv(base.VecEnv):
        """The wrapper; made here because its base class is optional."""

        def __init__(self, env: DreamVectorEnv) -> None:
            self.dreams = env
            self.render_mode = "rgb_array"
            self._actions: Any = None
            self._seed: int | None = None
            super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

        def reset(self) -> Any:
            observations, _ = self.dreams.reset(seed=self._seed)
            self._seed = None
            return observations

        def seed(self, seed: int | None = None) -> list[int | None]:
            self._seed = seed
            return [seed] * self.dreams.num_envs

        def step_async(self, actions: Any) -> None:
            self._actions = actions

        def step_wait(self) -> Any:
            observations, rewards, terminated, truncated, found = self.dreams.step(self._actions)
            dones = terminated | truncated
            infos: list[dict[str, Any]] = [{} for _ in range(self.dreams.num_envs)]
            for row in np.flatnonzero(dones):
                infos[row]["terminal_observation"] = found["final_obs"][row]
                infos[row]["TimeLimit.truncated"] = bool(truncated[row])
            return observations, rewards.astype(np.float32), dones, infos

        def close(self) -> None:
            self.dreams.close()

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            rows = self._get_indices(indices)
            owner: Any = self if attr_name == "render_mode" else self.dreams
            return [getattr(owner, attr_name) for _ in rows]

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            raise ConfigError(f"'{attr_name}' cannot be set for a single dream of a batch.")

        def env_method(
            self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
        ) -> Any:
            raise ConfigError(f"'{method_name}' cannot be called on a single dream of a batch.")

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            return [False for _ in self._get_indices(indices)]

        def get_images(self) -> Any:
            return self.dreams.render()

    return DreamVecEnv
