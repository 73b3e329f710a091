"""A simulator that is watched: the frames a planner needs for its context."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from reverie.core.batch import Batch
from reverie.core.errors import ConfigError
from reverie.core.types import Episode
from reverie.data.windows import episode_to_batch
from reverie.envs.api import StepResult, TaskEnv


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    frame: UInt8[np.ndarray, "h w 3"]
    action: Float32[np.ndarray, " a"]
    """The action that led to the frame; zeros at the first one."""
    reward: float


class Watched:
    """A ``TaskEnv`` that passes everything on and remembers the newest frames of the episode."""

    def __init__(self, env: TaskEnv, num_remembered: int) -> None:
        """Watch ``env``; nothing is remembered before its next reset.

        Args:
            env: The simulator; closing this closes it.
            num_remembered: Frames that ``context`` can give.
        """
        self.spec, self.frame_spec = env.spec, env.frame_spec
        self._env = env
        # One more: the action that led to the oldest frame of a context is then known.
        self._seen: deque[_Seen] = deque(maxlen=num_remembered + 1)
        self._num_frames = 0

    def reset(self, seed: int) -> UInt8[np.ndarray, "h w 3"]:
        """Start an episode and forget the last one."""
        frame = self._env.reset(seed)
        self._begin(frame)
        return frame

    def step(self, action: Float32[np.ndarray, " a"]) -> StepResult:
        """Advance one step and remember what came of it."""
        result = self._env.step(action)
        clipped = np.clip(action, -1.0, 1.0).astype(np.float32)
        self._seen.append(_Seen(result.frame, clipped, result.reward))
        self._num_frames += 1
        return result

    def observe_state(self) -> Float32[np.ndarray, " n"]:
        """Return the task's state vector."""
        return self._env.observe_state()

    def save(self) -> object:
        """Return a snapshot of the simulator; what was seen is not part of it."""
        return self._env.save()

    def restore(self, snapshot: object) -> UInt8[np.ndarray, "h w 3"]:
        """Go back to a snapshot; what was seen before it is forgotten."""
        frame = self._env.restore(snapshot)
        self._begin(frame)
        return frame

    def close(self) -> None:
        """Release the simulator."""
        self._env.close()

    def context(self, action_width: int) -> Batch:
        """Return the newest real frames as a batch of one row.

        Args:
            action_width: Lanes of the batch, such as a model's.

        Raises:
            ConfigError: Nothing was seen yet.
        """
        if not self._seen:
            raise ConfigError("Nothing was seen yet: reset the watched simulator first.")
        seen = list(self._seen)
        lanes = np.array([item.action for item in seen[1:]], np.float32)
        episode = Episode(
            frames=np.stack([item.frame for item in seen]),
            actions=lanes.reshape(-1, self.spec.action.width),
            rewards=np.array([item.reward for item in seen[1:]], np.float32),
            terminated=False,
            task=self.spec.name,
            source="watched",
            seed=0,
        )
        # The oldest frame of a longer episode only lends its successor the action.
        start = 0 if self._num_frames == len(seen) else 1
        return episode_to_batch(episode, start, action_width=action_width)

    def _begin(self, frame: UInt8[np.ndarray, "h w 3"]) -> None:
        self._seen.clear()
        self._seen.append(_Seen(frame, np.zeros(self.spec.action.width, np.float32), 0.0))
        self._num_frames = 1
