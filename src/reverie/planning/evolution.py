"""CMA-ES as one of the searches, through the ``cma`` package."""

import math
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from reverie.core.errors import ConfigError
from reverie.core.registry import require_extra
from reverie.planning.optimisers import SearchConfig, SearchStart, check_values

SMALLEST_POPULATION = 4
DIAGONAL_ABOVE = 100
"""Beyond so many numbers a full covariance learns nothing in the few iterations of a plan."""


class CmaEs:
    """Covariance matrix adaptation (Hansen 2016, arXiv 1604.00772), maximising, in [-1, 1].

    Draws come from the generator that ``ask`` is given: NumPy's global one is not touched.
    """

    def __init__(self, start: SearchStart, config: SearchConfig) -> None:
        """Begin at ``start``; its std may differ per step and lane.

        Raises:
            ConfigError: The population is too small.
            MissingExtraError: The package ``cma`` is not installed.
        """
        if config.num_candidates < SMALLEST_POPULATION:
            raise ConfigError(
                f"CMA-ES needs at least {SMALLEST_POPULATION} candidates, got "
                f"{config.num_candidates}. Try 32."
            )
        cma = require_extra("cma", "es", "search with CMA-ES")
        self._shape, self._like = tuple(start.mean.shape), start.mean
        self._rng = np.random.default_rng()
        first = start.mean.flatten().double().cpu().numpy().clip(-1, 1)
        widths = start.std.flatten().double().cpu().numpy()
        step = float(np.exp(np.log(widths).mean()))
        options = {
            "popsize": config.num_candidates,
            "bounds": [-1.0, 1.0],
            "CMA_stds": widths / step,
            "CMA_diagonal": first.size > DIAGONAL_ABOVE,
            "minstd": config.min_std,
            "verbose": -9,
            # Both keep it from seeding and drawing from NumPy's global generator.
            "seed": math.nan,
            "randn": self._draw,
        }
        self._asked: list[np.ndarray] = []
        self._search: Any = cma.CMAEvolutionStrategy(first, step, options)

    @property
    def mean(self) -> Float[Tensor, "h a"]:
        """The centre of the search now."""
        return self._sequences([self._search.result.xfavorite])[0].clamp(-1.0, 1.0)

    def ask(self, rng: torch.Generator) -> Float[Tensor, "k h a"]:
        """Draw candidates."""
        seed = int(torch.randint(0, 2**31, (1,), generator=rng, device=rng.device))
        self._rng = np.random.default_rng(seed)
        self._asked = self._search.ask()
        return self._sequences(self._asked)

    def tell(self, candidates: Float[Tensor, "k h a"], values: Float[Tensor, " k"]) -> None:
        """Learn what candidates are worth; rows that ``ask`` did not give are taken in, too."""
        check_values(values)
        rows = list(rearrange(candidates, "k h a -> k (h a)").double().cpu().numpy())
        for index, own in enumerate(self._asked[: len(rows)]):
            # A row that differs in its last digits would count as brought in from outside, and
            # the step towards it would be shortened.
            if np.array_equal(rows[index], own.astype(np.float32)):
                rows[index] = own
        self._search.tell(rows, (-values).double().cpu().tolist())

    def _draw(self, *shape: int) -> Any:
        return self._rng.standard_normal(shape)

    def _sequences(self, rows: Any) -> Float[Tensor, "k h a"]:
        flat = torch.from_numpy(np.asarray(rows, dtype=np.float32)).to(self._like)
        return flat.reshape(len(flat), *self._shape)
