"""``DreamEnv``: one dream as a Gymnasium environment."""

from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Float32

from reverie.core.errors import ReverieError
from reverie.models.api import Gauge, WorldModel
from reverie.models.dream_env.dreams import DreamConfig, Dreams, JoinableState
from reverie.models.dream_env.vector import action_space, observation_space, to_native


class DreamEnv(gymnasium.Env[Any, Any]):
    """One dream; what ends, cuts and observes it is as in ``DreamVectorEnv``."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self,
        world: WorldModel,
        starts: JoinableState,
        *,
        config: DreamConfig = DreamConfig(),  # noqa: B008
        gauge: Gauge | None = None,
        actions: Float32[np.ndarray, "n a"] | None = None,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Prepare; ``reset`` begins.

        Args:
            world: Any world model.
            starts: The pool of starts.
            config: When the dream stops, what is observed.
            gauge: What may cut it.
            actions: A menu of native actions; without one, actions are lanes in [-1, 1].
            render_mode: ``"rgb_array"``, or None.
        """
        self.dreams = Dreams(world, starts, 1, config=config, gauge=gauge)
        self.action_space = action_space(world, actions)
        self.observation_space = observation_space(world, starts, config)
        self.render_mode = render_mode
        self._menu = actions
        self._has_begun = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin a dream from a start drawn from the pool."""
        super().reset(seed=seed, options=options)
        if seed is not None or not self._has_begun:
            self.dreams.rng.manual_seed(int(self.np_random.integers(2**62)))
        self._has_begun = True
        self.dreams.restart()
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Dream one frame."""
        if not self._has_begun:
            raise ReverieError("The dream has not begun. Call reset() first.")
        native = to_native(np.asarray(action)[None], self._menu)
        stepped = self.dreams.step(torch.from_numpy(native))
        info = {"distrusted": True} if bool(stepped.distrusted[0]) else {}
        flags = (bool(stepped.terminated[0]), bool(stepped.truncated[0]))
        return self._observe(), float(stepped.rewards[0]), *flags, info

    def render(self) -> Any:
        """Decode the newest frame."""
        if self.render_mode is None:
            return None
        return self.dreams.world.decode(self.dreams.state)[0].cpu().numpy()

    def _observe(self) -> Any:
        return self.dreams.observe()[0].numpy()
