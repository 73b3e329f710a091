"""Runs a pure game as a ``TaskEnv``: clipping, counting, resampling, snapshots."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from reverie.core.errors import ConfigError, ReverieError, ShapeError
from reverie.core.types import FrameSpec
from reverie.envs.api import StepResult
from reverie.envs.spec import TaskSpec


@runtime_checkable
class Game(Protocol):
    """The rules and the picture of one game, without clocks, clipping or files.

    Everything that changes during an episode lives in ``state``, in plain values: copying it is a
    complete snapshot. A game is in some episode from its construction on. Caches of pictures live
    outside and must be functions of the state.
    """

    state: Any

    def reset(self, rng: np.random.Generator) -> None:
        """Replace ``state`` by the start of a new episode."""
        ...

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Advance by one step under a clipped action; return the reward."""
        ...

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the state. Called exactly once after each reset and each step."""
        ...

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return the low-dimensional state, without side effects."""
        ...

    def score(self, total_reward: float) -> float:
        """Return the normalised outcome so far, given the sum of rewards."""
        ...

    def is_success(self) -> bool:
        """Tell whether the goal is reached at this moment."""
        ...

    def is_over(self) -> bool:
        """Tell whether the task itself has ended."""
        ...


@runtime_checkable
class Simulation(Game, Protocol):
    """A game that lives in a foreign simulator.

    ``state`` is a property: reading it saves the simulator, setting it restores it. Frames are
    drawn at the size that the factory was given, never resampled here; drawing twice changes
    nothing.
    """

    def close(self) -> None:
        """Release the simulator and what it draws with."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GameSnapshot:
    """Everything that a ``GameEnv`` needs to go on from a moment."""

    task: str
    state: Any
    rng: np.random.Generator
    total_reward: float
    num_steps: int
    is_finished: bool
    native_frame: UInt8[np.ndarray, "h w 3"]
    """As the game drew it, so that environments of other frame sizes can restore it as well."""


class GameEnv:
    """A ``TaskEnv`` around a ``Game``. Final: games differ, this does not."""

    def __init__(self, spec: TaskSpec, frame_spec: FrameSpec, game: Game) -> None:
        """Wrap a game; it starts at the first ``reset``."""
        self.spec = spec
        self.frame_spec = frame_spec
        self.game = game
        self._rng = np.random.default_rng(0)
        self._total_reward = 0.0
        self._num_steps = 0
        self._is_finished = True
        self._native_frame: UInt8[np.ndarray, "h w 3"] | None = None

    def reset(self, seed: int) -> UInt8[np.ndarray, "h w 3"]:
        """Start an episode and return its first frame."""
        self._rng = np.random.default_rng(seed)
        self._total_reward, self._num_steps, self._is_finished = 0.0, 0, False
        self.game.reset(self._rng)
        return self._draw()

    def step(self, action: Float32[np.ndarray, " a"]) -> StepResult:
        """Advance one step; lanes outside [-1, 1] are clipped, a wrong width is refused."""
        if self._is_finished:
            raise ReverieError(
                f"The task '{self.spec.name}' was stepped outside an episode (before its first "
                f"reset, or after its end at step {self._num_steps}). Call reset(seed) first."
            )
        clipped = self._checked(action)
        reward = float(self.game.step(clipped, self._rng))
        self._total_reward += reward
        self._num_steps += 1
        terminated = self.game.is_over()
        truncated = self._num_steps >= self.spec.max_steps
        self._is_finished = terminated or truncated
        info = {
            "score": self.game.score(self._total_reward),
            "success": self.game.is_success(),
        }
        return StepResult(
            frame=self._draw(), reward=reward, terminated=terminated, truncated=truncated, info=info
        )

    def observe_state(self) -> Float32[np.ndarray, " n"]:
        """Return the task's low-dimensional state vector, without side effects."""
        return self.game.state_vector()

    def save(self) -> GameSnapshot:
        """Return a snapshot that ``restore`` accepts any number of times."""
        if self._native_frame is None:
            raise ReverieError(
                f"The task '{self.spec.name}' has nothing to save yet. Call reset(seed) first."
            )
        return GameSnapshot(
            task=self.spec.name,
            state=deepcopy(self.game.state),
            rng=deepcopy(self._rng),
            total_reward=self._total_reward,
            num_steps=self._num_steps,
            is_finished=self._is_finished,
            native_frame=self._native_frame,
        )

    def restore(self, snapshot: object) -> UInt8[np.ndarray, "h w 3"]:
        """Go back to a snapshot exactly, randomness included; return the frame shown there."""
        if not isinstance(snapshot, GameSnapshot) or snapshot.task != self.spec.name:
            given = snapshot.task if isinstance(snapshot, GameSnapshot) else type(snapshot).__name__
            raise ConfigError(
                f"The task '{self.spec.name}' can only restore its own snapshots, got one of "
                f"'{given}'. Pass what save() of the same task returned."
            )
        self.game.state = deepcopy(snapshot.state)
        self._rng = deepcopy(snapshot.rng)
        self._total_reward = snapshot.total_reward
        self._num_steps = snapshot.num_steps
        self._is_finished = snapshot.is_finished
        self._native_frame = snapshot.native_frame
        if isinstance(self.game, Simulation) and self._native_frame.shape != self.frame_spec.shape:
            return self._draw()
        return _resampled(self._native_frame, self.frame_spec)

    def close(self) -> None:
        """Release the simulator; a game of ours holds only memory."""
        if isinstance(self.game, Simulation):
            self.game.close()

    def _draw(self) -> UInt8[np.ndarray, "h w 3"]:
        self._native_frame = self.game.draw(self._rng)
        return _resampled(self._native_frame, self.frame_spec)

    def _checked(self, action: Float32[np.ndarray, " a"]) -> Float32[np.ndarray, " a"]:
        width = self.spec.action.width
        if action.shape != (width,) or not np.isfinite(action).all():
            names = ", ".join(self.spec.action_names)
            raise ShapeError(
                f"The task '{self.spec.name}' takes {width} finite action lane(s) ({names}), got "
                f"{action.tolist()} of shape {action.shape}. Pass a float32 array of shape "
                f"({width},) with values in [-1, 1]."
            )
        return np.clip(action, -1.0, 1.0).astype(np.float32, copy=False)


def _resampled(
    frame: UInt8[np.ndarray, "h w 3"], frame_spec: FrameSpec
) -> UInt8[np.ndarray, "h2 w2 3"]:
    # Always a new array: a caller may write into its frame.
    if frame.shape == frame_spec.shape:
        return frame.copy()
    size = (frame_spec.width_px, frame_spec.height_px)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
