"""A gymnasium MuJoCo environment as a game."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from reverie.envs.mujoco_renderer import MujocoRenderer
from reverie.envs.mujoco_state import PhysicsState, restore_physics, save_physics

Payment = Literal["library", "while healthy", "until fallen"]
"""``library``: what gymnasium pays. ``while healthy``: the same, but at least 0, and -1 for a step
that ends unhealthy. ``until fallen``: the same until the library first calls the episode over,
then 0 for good."""

UNHEALTHY_REWARD = -1.0
NUM_SEEDS = 2**32


class ScoreRange(NamedTuple):
    """Returns that score 0 and 1."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClassicState:
    """All that an episode needs to go on."""

    physics: PhysicsState
    has_fallen: bool


class ClassicGame:
    """One of gymnasium's MuJoCo classes, kept going where the library would stop."""

    def __init__(
        self,
        environment: Any,
        renderer: MujocoRenderer,
        *,
        repeat: int,
        score_range: ScoreRange,
        payment: Payment,
    ) -> None:
        """Take over an environment that was built without a render mode.

        Args:
            environment: A ``gymnasium.envs.mujoco.MujocoEnv``.
            renderer: Draws its model.
            repeat: Library steps per agent step, with the same action; rewards are summed.
            score_range: Returns that score 0 and 1.
            payment: How the library's reward becomes ours.
        """
        self.environment = environment
        self._renderer = renderer
        self._repeat = repeat
        self._score_range = score_range
        self._payment: Payment = payment
        self._reach: Float32[np.ndarray, " a"] = environment.action_space.high
        self._has_fallen = False
        self.reset(np.random.default_rng(0))

    @property
    def state(self) -> ClassicState:
        """Everything that changes during an episode."""
        physics = save_physics(self.environment.model, self.environment.data)
        return ClassicState(physics=physics, has_fallen=self._has_fallen)

    @state.setter
    def state(self, state: ClassicState) -> None:
        restore_physics(self.environment.model, self.environment.data, state.physics)
        self._has_fallen = state.has_fallen

    def reset(self, rng: np.random.Generator) -> None:
        """Begin an episode with a seed of the library's own generator."""
        self.environment.reset(seed=int(rng.integers(NUM_SEEDS)))
        self._has_fallen = False

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Hold an action, scaled to the actuators, and sum what is paid for it."""
        control = action * self._reach
        return sum(self._pay(control) for _ in range(self._repeat))

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the scene."""
        return self._renderer.draw(self.environment.data)

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return the library's observation."""
        return self.environment._get_obs().astype(np.float32)

    def score(self, total_reward: float) -> float:
        """Return where the return lies in the benchmark's range."""
        low, high = self._score_range
        return min(max((total_reward - low) / (high - low), 0.0), 1.0)

    def is_success(self) -> bool:
        """Never: these tasks know no success."""
        return False

    def is_over(self) -> bool:
        """Never: only the time limit ends an episode."""
        return False

    def close(self) -> None:
        """Release the picture and the environment."""
        self._renderer.close()
        self.environment.close()

    def _pay(self, control: Float32[np.ndarray, " a"]) -> float:
        _, reward, is_over, _, _ = self.environment.step(control)
        if self._payment == "while healthy":
            return max(float(reward), 0.0) if self.environment.is_healthy else UNHEALTHY_REWARD
        if self._payment == "until fallen":
            self._has_fallen = self._has_fallen or bool(is_over)
            return 0.0 if self._has_fallen else float(reward)
        return float(reward)
