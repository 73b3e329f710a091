"""The general expert: plans on a true copy of the simulator, which it may restore as it likes.

No model and no learning: sampled action sequences are played from the present state of the real
episode, the best one is followed, and after some steps the plan is made anew. Exact snapshots make
the imagined future the real one wherever the simulator draws nothing by chance.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from reverie.core.errors import ConfigError
from reverie.core.types import FrameSpec
from reverie.envs.api import Policy, TaskEnv
from reverie.envs.game_env import Game, GameEnv, Simulation
from reverie.envs.registry import make_from_spec
from reverie.envs.spec import TaskSpec

Hint = Callable[[Any], float]
"""Added to what an imagined step of a game pays, where the reward itself says too little too late:
closeness to the goal, for example. It steers the search only; no reward changes."""

_NO_PICTURE = FrameSpec(height_px=8, width_px=8)
"""The copy is never drawn; making it opens no picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OracleConfig:
    """How far and how hard the oracle looks ahead; the product is the cost of a plan."""

    horizon: int = 20
    """Agent steps that are imagined."""
    num_knots: int = 6
    """Actions drawn per candidate; the steps between them are filled in."""
    is_held: bool = False
    """Whether an action is held until the next knot, for sticks and buttons that know only a few
    positions; else the steps between are interpolated, so that plans are smooth."""
    num_candidates: int = 24
    """Sequences played per round, the last plan and doing nothing among them."""
    num_rounds: int = 2
    """Rounds of drawing around the best sequence so far."""
    replan_every: int = 2
    """Steps of a plan that are followed before the next one is made."""
    min_sigma: float = 0.05
    max_sigma: float = 1.0
    """Candidates are drawn with widths on a ladder between these: some correct, some explore."""

    def __post_init__(self) -> None:
        """Refuse plans that cannot be followed."""
        if not 1 <= self.replan_every <= self.horizon:
            raise ConfigError(
                f"An oracle follows between 1 and horizon ({self.horizon}) steps of a plan, got "
                f"replan_every={self.replan_every}."
            )
        if not 2 <= self.num_knots <= self.horizon or self.num_candidates < 3:
            raise ConfigError(
                f"An oracle needs 2 to horizon ({self.horizon}) knots and at least 3 candidates, "
                f"got num_knots={self.num_knots} and num_candidates={self.num_candidates}."
            )


class OraclePlanner:
    """A policy that searches the true future. It only reads the environment it acts in."""

    name = "expert"

    def __init__(
        self,
        spec: TaskSpec,
        config: OracleConfig = OracleConfig(),  # noqa: B008 - frozen
        hint: Hint | None = None,
    ) -> None:
        """Plan for a task; the copy of its simulator is made by the first episode."""
        self._spec = spec
        self._config = config
        self._hint = hint
        self._copy: Game | None = None
        fill = _holding if config.is_held else _interpolation
        self._basis = fill(config.horizon, config.num_knots)

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Begin an episode with an empty plan."""
        if not isinstance(env, GameEnv) or env.spec.name != self._spec.name:
            raise ConfigError(
                f"The oracle of '{self._spec.name}' plans for that task only, and needs its "
                f"snapshots; it was given '{env.spec.name}'. Make the expert of that task instead."
            )
        if self._copy is None:
            copy: GameEnv = make_from_spec(self._spec, _NO_PICTURE)  # pyright: ignore[reportAssignmentType]
            self._copy = copy.game
        self._rng = rng
        self._plan = np.zeros((self._config.horizon, self._spec.action.width))
        return {"oracle": asdict(self._config)}

    def act(self, env: TaskEnv, step: int) -> np.ndarray:
        """Follow the plan, after making a new one where it is time."""
        place = step % self._config.replan_every
        if place == 0:
            assert isinstance(env, GameEnv) and self._copy is not None
            num_left = self._spec.max_steps - step
            self._plan = self._search(self._copy, env.game.state, num_left)
        return self._plan[place].astype(np.float32)

    def behaviour(self) -> str:
        """Return ``"expert"``."""
        return self.name

    def _search(self, copy: Game, root: Any, num_left: int) -> Float64[np.ndarray, "t a"]:
        config = self._config
        seed = int(self._rng.integers(2**62))
        best = self._shifted()
        best_return = self._imagine(copy, root, best, num_left, seed)
        for turn in range(config.num_rounds):
            candidates = self._draw(best)
            if turn == 0:
                candidates[0] = 0.0
            for candidate in candidates:
                value = self._imagine(copy, root, candidate, num_left, seed)
                if value > best_return:
                    best, best_return = candidate, value
        return best

    def _shifted(self) -> Float64[np.ndarray, "t a"]:
        ahead = self._plan[self._config.replan_every :]
        rest = np.repeat(self._plan[-1:], self._config.horizon - len(ahead), axis=0)
        return np.concatenate([ahead, rest])

    def _draw(self, centre: Float64[np.ndarray, "t a"]) -> Float64[np.ndarray, "k t a"]:
        config = self._config
        count = config.num_candidates // config.num_rounds
        sigmas = np.geomspace(config.min_sigma, config.max_sigma, count)
        shape = (count, config.num_knots, centre.shape[1])
        knots = sigmas[:, None, None] * self._rng.standard_normal(shape)
        return np.clip(centre + np.einsum("tn,kna->kta", self._basis, knots), -1.0, 1.0)

    def _imagine(
        self, copy: Game, root: Any, plan: Float64[np.ndarray, "t a"], num_left: int, seed: int
    ) -> float:
        # The same chance for every candidate, so that the better plan wins and not the luckier.
        rng = np.random.default_rng(seed)
        copy.state = root if isinstance(copy, Simulation) else deepcopy(root)
        total = 0.0
        for action in plan[:num_left].astype(np.float32):
            total += float(copy.step(action, rng))
            if self._hint is not None:
                total += self._hint(copy)
            if copy.is_over():
                break
        return total


def make_oracle(spec: TaskSpec) -> Policy:
    """Make the oracle of any task that is a game, with the default effort."""
    return OraclePlanner(spec)


def _interpolation(horizon: int, num_knots: int) -> Float64[np.ndarray, "t n"]:
    """Return the weights of the knots at each step, for straight lines between them."""
    places = np.linspace(0.0, num_knots - 1.0, horizon)
    return np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(num_knots)[None]))


def _holding(horizon: int, num_knots: int) -> Float64[np.ndarray, "t n"]:
    """Return the weights of the knots at each step, for actions that are held."""
    places = np.arange(horizon) * num_knots // horizon
    return np.eye(num_knots)[places]
