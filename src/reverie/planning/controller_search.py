"""CMA-ES over a controller's weights, by the ``cma`` library; randomness and state are ours."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from reverie.core.errors import CheckpointError, ConfigError
from reverie.core.registry import require_extra
from reverie.core.seeds import numpy_rng


class ControllerSearch:
    """Maximises a score that is known only by trying (Hansen 2016, arXiv 1604.00772).

    Only the order of the scores matters. All randomness comes from the seed; the state is the
    scores told so far, from which the same object is rebuilt exactly: nothing is pickled.
    """

    def __init__(
        self,
        first_mean: Float[np.ndarray, " n"],
        *,
        population: int,
        seed: int,
        first_std: float = 0.1,
    ) -> None:
        """Begin around a vector: zeros, or what an earlier search found.

        Args:
            first_mean: Mean of the first generation.
            population: Candidates per generation.
            seed: Root of everything drawn.
            first_std: Std of the first generation; 0.1 as Ha & Schmidhuber 2018 have it.

        Raises:
            ConfigError: The population is smaller than 4 + 3 ln n, with which CMA-ES fails.
        """
        num_parameters = len(first_mean)
        smallest = 4 + math.floor(3 * math.log(num_parameters))
        if population < smallest:
            raise ConfigError(
                f"CMA-ES over {num_parameters} parameters needs a population of at least "
                f"{smallest}, got {population}. Try {max(32, smallest)}."
            )
        self.num_parameters, self.population = num_parameters, population
        self.seed, self._first_std = seed, first_std
        self._first_mean = np.asarray(first_mean, dtype=np.float64)
        self._told: list[list[float]] = []
        self._asked: list[np.ndarray] | None = None
        self._strategy = self._make()

    @property
    def generation(self) -> int:
        """Generations told so far."""
        return len(self._told)

    @property
    def mean(self) -> Float[np.ndarray, " n"]:
        """Mean of the distribution: what is evaluated and kept, never the best sample."""
        return np.asarray(self._strategy.mean, dtype=np.float64).copy()

    @property
    def std(self) -> float:
        """Overall step size."""
        return float(self._strategy.sigma)

    def ask(self) -> Float[np.ndarray, "k n"]:
        """Draw the next generation; asking again before ``tell`` returns the same."""
        asked = self._strategy.ask() if self._asked is None else self._asked
        self._asked = asked
        return np.stack(asked)

    def tell(self, scores: Float[np.ndarray, " k"]) -> None:
        """Take the scores of the last generation, larger is better.

        Raises:
            ConfigError: There is not one finite score per candidate.
        """
        if scores.shape != (self.population,) or not np.isfinite(scores).all():
            raise ConfigError(
                f"CMA-ES needs {self.population} finite scores, got {scores.shape} with "
                f"{int(np.isfinite(scores).sum())} finite ones."
            )
        self.ask()
        assert self._asked is not None
        self._strategy.tell(self._asked, [-float(score) for score in scores])
        self._told.append([float(score) for score in scores])
        self._asked = None

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` needs; JSON-compatible."""
        return {
            "num_parameters": self.num_parameters,
            "population": self.population,
            "seed": self.seed,
            "first_std": self._first_std,
            "first_mean": self._first_mean.tolist(),
            "told": [list(scores) for scores in self._told],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replay the scores told: the next ``ask`` gives the same bits as if nothing had stopped.

        Raises:
            CheckpointError: The state is of another search.
        """
        own = self.state_dict()
        for name in ("num_parameters", "population", "seed", "first_std", "first_mean"):
            if state.get(name) != own[name]:
                raise CheckpointError(
                    f"This search has {name} {own[name]}, the saved one {state.get(name)}. Use "
                    f"the same settings, or begin anew under another name."
                )
        self._told, self._asked = [], None
        self._strategy = self._make()
        for scores in state["told"]:
            self.tell(np.asarray(scores))

    def _make(self) -> Any:
        cma = require_extra("cma", "es", "train a controller by CMA-ES")
        rng = numpy_rng(self.seed, "cma-es")
        options = {
            "popsize": self.population,
            # NaN: the library would otherwise seed NumPy's global generator.
            "seed": math.nan,
            "randn": _normals(rng),
            "verbose": -9,
            "verb_log": 0,
            "verb_disp": 0,
        }
        return cma.CMAEvolutionStrategy(self._first_mean, self._first_std, options)


def _normals(rng: np.random.Generator) -> Callable[..., Any]:
    def draw(*size: int) -> Any:
        return rng.standard_normal(size)

    return draw
