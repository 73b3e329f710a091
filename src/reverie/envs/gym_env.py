"""Any task as a ``gymnasium.Env``, for agents written elsewhere."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float32, UInt8

from reverie.core.errors import ConfigError
from reverie.core.types import DEFAULT_QUALITY, FrameSpec, RenderQuality
from reverie.envs.registry import make_env


class GymEnv(gymnasium.Env[UInt8[np.ndarray, "h w 3"], Float32[np.ndarray, " a"]]):
    """A task whose observation is the frame; ``info["state"]`` holds the state vector."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}

    def __init__(
        self,
        task: str,
        *,
        frame_spec: FrameSpec = FrameSpec(),  # noqa: B008 - frozen
        quality: RenderQuality = DEFAULT_QUALITY,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Start the simulator of a task.

        Args:
            task: A task name.
            frame_spec: Size of the frames.
            quality: How carefully to draw; tasks without qualities have one look only.
            render_mode: ``"rgb_array"`` or None; the observation is a picture either way.
        """
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(
                f"render_mode '{render_mode}' is not supported; use 'rgb_array' or None and show "
                f"the frames yourself."
            )
        self.render_mode = render_mode
        self._env = make_env(task, frame_spec=frame_spec, quality=quality)
        self._frame: UInt8[np.ndarray, "h w 3"] = np.zeros(frame_spec.shape, dtype=np.uint8)
        width = self._env.spec.action.width
        self.observation_space = spaces.Box(0, 255, frame_spec.shape, np.uint8)
        self.action_space = spaces.Box(-1.0, 1.0, (width,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[UInt8[np.ndarray, "h w 3"], dict[str, Any]]:
        """Start an episode; without a seed the next one of this environment's own stream."""
        if options:
            raise ConfigError(f"This environment has no reset options, got {options}.")
        super().reset(seed=seed)
        self._frame = self._env.reset(int(self.np_random.integers(2**62)))
        return self._frame.copy(), {"state": self._env.observe_state()}

    def step(
        self, action: Float32[np.ndarray, " a"]
    ) -> tuple[UInt8[np.ndarray, "h w 3"], float, bool, bool, dict[str, Any]]:
        """Advance one step."""
        result = self._env.step(np.asarray(action, dtype=np.float32))
        self._frame = result.frame
        info = {**result.info, "state": self._env.observe_state()}
        return self._frame.copy(), result.reward, result.terminated, result.truncated, info

    def render(self) -> UInt8[np.ndarray, "h w 3"] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the newest frame."""
        return None if self.render_mode is None else self._frame.copy()

    def close(self) -> None:
        """Release the simulator."""
        self._env.close()
