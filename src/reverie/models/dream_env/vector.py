"""``DreamVectorEnv``: a batch of dreams as a Gymnasium vector environment."""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float32

from reverie.core.errors import ConfigError, ReverieError
from reverie.models.api import Gauge, WorldModel
from reverie.models.dream_env.dreams import (
    OBSERVATION_LIMIT,
    DreamConfig,
    Dreams,
    DreamStep,
    JoinableState,
)


class DreamVectorEnv(VectorEnv):
    """Many dreams of one world model, stepped in one batch; every autoreset mode of Gymnasium.

    A dream terminates where the model says that the task ended; it is truncated at the horizon,
    or where the gauge no longer trusts it (``infos["distrusted"]``).
    """

    def __init__(
        self,
        world: WorldModel,
        starts: JoinableState,
        num_envs: int = 64,
        *,
        config: DreamConfig = DreamConfig(),  # noqa: B008
        gauge: Gauge | None = None,
        actions: Float32[np.ndarray, "n a"] | None = None,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        """Prepare; ``reset`` begins.

        Args:
            world: Any world model.
            starts: The pool of starts: ``world.start`` on as many contexts as wanted.
            num_envs: Dreams side by side.
            config: When dreams stop, what is observed.
            gauge: What may cut a dream.
            actions: A menu of native actions; the action space is then discrete. Without one,
                actions are the model's lanes in [-1, 1].
            autoreset_mode: When ended rows begin anew.
        """
        self.dreams = Dreams(world, starts, num_envs, config=config, gauge=gauge)
        self.num_envs = num_envs
        self.autoreset_mode = autoreset_mode
        self.metadata = {"autoreset_mode": autoreset_mode, "render_modes": ["rgb_array"]}
        self.render_mode = "rgb_array"
        self.single_action_space = action_space(world, actions)
        self.single_observation_space = observation_space(world, starts, config)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._menu = actions
        self._ended = np.zeros(num_envs, dtype=np.bool_)
        self._has_begun = False

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin all dreams, or the rows of ``options["reset_mask"]``.

        Args:
            seed: One seed for all rows: they share a generator.
            options: ``reset_mask``, a boolean per row, as Gymnasium's disabled mode has it.
        """
        if isinstance(seed, list):
            seed = next((int(item) for item in seed if item is not None), None)
        super().reset(seed=seed)
        if seed is not None or not self._has_begun:
            self.dreams.rng.manual_seed(int(self.np_random.integers(2**62)))
        mask = (options or {}).get("reset_mask")
        if mask is None or not self._has_begun:
            self.dreams.restart()
            self._ended[:] = False
        else:
            self._restart(np.asarray(mask, dtype=np.bool_))
        self._has_begun = True
        return self._observe(), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Dream one frame in every row."""
        if not self._has_begun:
            raise ReverieError("The dreams have not begun. Call reset() first.")
        if self.autoreset_mode == AutoresetMode.DISABLED and self._ended.any():
            raise ReverieError(
                f"{int(self._ended.sum())} dreams have ended. Call "
                f"reset(options={{'reset_mask': mask}}) on them before stepping on."
            )
        waiting = self._ended.copy()
        stepped = self.dreams.step(torch.from_numpy(self._native(actions)))
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            self._restart(waiting)
            return self._result(stepped, waiting)
        self._ended = self._over(stepped)
        if self.autoreset_mode == AutoresetMode.SAME_STEP and self._ended.any():
            return self._reset_at_once(stepped)
        return self._result(stepped, np.zeros_like(waiting))

    def render(self) -> tuple[Any, ...] | None:
        """Decode the newest frame of every row."""
        return tuple(self.dreams.world.decode(self.dreams.state).cpu().numpy())

    def _result(
        self, stepped: DreamStep, waiting: Bool[np.ndarray, " b"]
    ) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        # A row that has just begun anew took no action: it earns nothing and has not ended.
        rewards = np.where(waiting, 0.0, stepped.rewards.numpy()).astype(np.float64)
        terminated = stepped.terminated.numpy() & ~waiting
        truncated = stepped.truncated.numpy() & ~waiting
        self._ended = terminated | truncated
        infos = self._infos(stepped.distrusted.numpy() & ~waiting)
        return self._observe(), rewards, terminated, truncated, infos

    def _reset_at_once(self, stepped: DreamStep) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        ended, last = self._ended.copy(), self._observe()
        distrusted = stepped.distrusted.numpy()
        final = np.empty(self.num_envs, dtype=object)
        for row in np.flatnonzero(ended):
            final[row] = last[row]
        infos: dict[str, Any] = {
            "final_obs": final,
            "_final_obs": ended,
            "final_info": self._infos(distrusted & ended),
            "_final_info": ended,
        }
        self._restart(ended)
        rewards = stepped.rewards.numpy().astype(np.float64)
        flags = (stepped.terminated.numpy(), stepped.truncated.numpy())
        return self._observe(), rewards, *flags, infos

    def _infos(self, distrusted: Bool[np.ndarray, " b"]) -> dict[str, Any]:
        if not distrusted.any():
            return {}
        return {"distrusted": distrusted, "_distrusted": distrusted}

    def _over(self, stepped: DreamStep) -> Bool[np.ndarray, " b"]:
        return (stepped.terminated | stepped.truncated).numpy()

    def _restart(self, mask: Bool[np.ndarray, " b"]) -> None:
        self.dreams.restart(np.flatnonzero(mask).tolist())
        self._ended[mask] = False

    def _observe(self) -> Any:
        return self.dreams.observe().numpy()

    def _native(self, actions: Any) -> Float32[np.ndarray, "b a"]:
        return to_native(np.asarray(actions), self._menu)


def to_native(
    actions: np.ndarray, menu: Float32[np.ndarray, "n a"] | None
) -> Float32[np.ndarray, "b a"]:
    """Look discrete actions up in the menu, or clip continuous ones to [-1, 1]."""
    if menu is not None:
        return menu[actions.astype(np.int64)]
    return np.clip(actions, -1.0, 1.0).astype(np.float32)


def action_space(
    world: WorldModel, menu: Float32[np.ndarray, "n a"] | None
) -> gymnasium.Space[Any]:
    """Describe the actions of one row."""
    if menu is None:
        return spaces.Box(-1.0, 1.0, (world.action_width,), np.float32)
    if menu.ndim != 2 or menu.shape[1] > world.action_width or np.abs(menu).max() > 1:
        raise ConfigError(
            f"A menu holds native actions in [-1, 1] of at most {world.action_width} lanes, one a "
            f"row; got shape {menu.shape}."
        )
    return spaces.Discrete(len(menu))


def observation_space(
    world: WorldModel, starts: JoinableState, config: DreamConfig
) -> gymnasium.Space[Any]:
    """Describe the observations of one row."""
    if config.observation == "frame":
        return spaces.Box(0, 255, world.tokenizer.frame_spec.shape, np.uint8)
    probe = Dreams(world, starts, 1, config=config)
    probe.restart()
    limit = OBSERVATION_LIMIT
    return spaces.Box(-limit, limit, (probe.observe().shape[1],), np.float32)
