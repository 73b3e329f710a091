"""A batch of dreams as TorchRL wants it: one ``EnvBase`` with a row per dream, tensors throughout.

A single dream needs no adapter: ``torchrl.envs.GymWrapper(DreamEnv(...))`` works as it is.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from reverie.core.errors import ReverieError
from reverie.core.registry import require_extra
from reverie.models.api import Gauge, WorldModel
from reverie.models.dream_env.dreams import (
    OBSERVATION_LIMIT,
    DreamConfig,
    Dreams,
    JoinableState,
)
from reverie.models.dream_env.vector import action_space


def make_torchrl_env(
    world: WorldModel,
    starts: JoinableState,
    num_rows: int = 64,
    *,
    config: DreamConfig = DreamConfig(),  # noqa: B008
    gauge: Gauge | None = None,
    actions: Float32[np.ndarray, "n a"] | None = None,
) -> Any:
    """Make a TorchRL environment of ``num_rows`` dreams; rows begin anew by TorchRL's own resets.

    ``terminated`` is where the model says that the task ended, ``truncated`` the horizon or a cut
    by the gauge, which ``distrusted`` tells apart: value estimators bootstrap from a cut.

    Args:
        world: Any world model.
        starts: The pool of starts.
        num_rows: Dreams side by side; the batch size.
        config: When dreams stop, what is observed.
        gauge: What may cut a dream.
        actions: A menu of native actions, which makes the action a category. Without one, actions
            are the model's lanes in [-1, 1].

    Raises:
        MissingExtraError: TorchRL is not installed.
    """
    envs: Any = require_extra("torchrl.envs", "torchrl", "train with TorchRL")
    specs: Any = require_extra("torchrl.data", "torchrl", "train with TorchRL")
    tensordict: Any = require_extra("tensordict", "torchrl", "train with TorchRL")
    action_space(world, actions)
    dreams = Dreams(world, starts, num_rows, config=config, gauge=gauge)
    menu = None if actions is None else torch.from_numpy(actions)
    return _env_type(envs.EnvBase, specs, tensordict.TensorDict)(dreams, menu)


def _env_type(base: Any, specs: Any, dictionary: Any) -> Any:
    # Made here, because its base class is optional.
    class DreamTorchEnv(base):
        """The environment; its base class is optional, so it is made when asked for."""

        def __init__(self, dreams: Dreams, menu: Float32[Tensor, "n a"] | None) -> None:
            rows = dreams.num_rows
            super().__init__(device=torch.device("cpu"), batch_size=torch.Size([rows]))
            self.dreams, self.menu = dreams, menu
            self._has_begun = False
            _describe(self, specs, dreams, menu)

        def _reset(self, tensordict: Any = None, **_: Any) -> Any:
            mask = None if tensordict is None else tensordict.get("_reset", None)
            if mask is None or not self._has_begun:
                self.dreams.restart()
            else:
                self.dreams.restart(mask.flatten().nonzero()[:, 0].tolist())
            self._has_begun = True
            never = torch.zeros(self.dreams.num_rows, 1, dtype=torch.bool)
            flags = {name: never.clone() for name in ("done", "terminated", "truncated")}
            return self._say({"distrusted": never, **flags})

        def _step(self, tensordict: Any) -> Any:
            if not self._has_begun:
                raise ReverieError("The dreams have not begun. Call reset() first.")
            action = tensordict.get("action")
            native = action.clamp(-1, 1) if self.menu is None else self.menu[action]
            stepped = self.dreams.step(native)
            return self._say(
                {
                    "reward": stepped.rewards.float()[:, None],
                    "terminated": stepped.terminated[:, None],
                    "truncated": stepped.truncated[:, None],
                    "done": (stepped.terminated | stepped.truncated)[:, None],
                    "distrusted": stepped.distrusted[:, None],
                }
            )

        def _say(self, values: dict[str, Tensor]) -> Any:
            seen = self.dreams.observe()
            return dictionary({"observation": seen, **values}, batch_size=self.batch_size)

        def _set_seed(self, seed: int | None) -> None:
            self.dreams.rng.manual_seed(0 if seed is None else int(seed))

    return DreamTorchEnv


def _describe(env: Any, specs: Any, dreams: Dreams, menu: Float32[Tensor, "n a"] | None) -> None:
    rows = dreams.num_rows
    dreams.rng.manual_seed(0)
    dreams.restart()
    seen = dreams.observe()
    if dreams.config.observation == "frame":
        observation = specs.Bounded(0, 255, seen.shape, dtype=torch.uint8)
    else:
        limit = OBSERVATION_LIMIT
        observation = specs.Bounded(-limit, limit, seen.shape, dtype=torch.float32)
    flag = specs.Binary(1, (rows, 1), dtype=torch.bool)
    env.observation_spec = specs.Composite(
        observation=observation, distrusted=flag.clone(), shape=(rows,)
    )
    env.reward_spec = specs.Unbounded((rows, 1), dtype=torch.float32)
    env.done_spec = specs.Composite(
        done=flag, terminated=flag.clone(), truncated=flag.clone(), shape=(rows,)
    )
    if menu is not None:
        env.action_spec = specs.Categorical(len(menu), (rows,))
    else:
        width = dreams.world.action_width
        env.action_spec = specs.Bounded(-1, 1, (rows, width), dtype=torch.float32)
