"""Searches over action sequences as ask/tell. They know numbers between -1 and 1, and no model.

A search is a value that remembers: ``ask`` for candidates, judge them somehow, ``tell`` what they
were worth, and repeat. Values are maximised.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from reverie.core.errors import ConfigError, ShapeError
from reverie.core.registry import Registry

OPTIMISERS = Registry("optimiser", "'cem', 'icem', 'mppi' and 'cma-es' are the ones there are")
"""Functions of (start, config) that make an ``Optimiser``."""
OPTIMISERS.add("cem", "reverie.planning.optimisers:cem")
OPTIMISERS.add("icem", "reverie.planning.optimisers:icem")
OPTIMISERS.add("mppi", "reverie.planning.optimisers:Mppi")
OPTIMISERS.add("cma-es", "reverie.planning.evolution:CmaEs")

ICEM_COLOUR = 2.0
"""Exponent of the noise of iCEM; its paper takes 0.25 to 4, by task."""
ICEM_KEPT_SHARE = 0.3
ICEM_DECAY = 1.25
ICEM_MOMENTUM = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig:
    """How widely and how long a search looks; every optimiser reads what it needs of it."""

    num_candidates: int = 32
    """Sequences per iteration (the paper's planner: 32)."""
    num_elites: int = 8
    """The best of them, from which the next distribution is fitted."""
    num_iterations: int = 3
    first_std: float = 1.0
    """Of every lane at the start. Samples are clipped to [-1, 1], so 1 already covers the box."""
    min_std: float = 0.05
    """A search never becomes surer than this."""
    temperature: float = 0.5
    """MPPI: weights are exp(value / temperature), values in units of their spread."""

    def __post_init__(self) -> None:
        """Refuse searches that cannot choose."""
        if self.num_iterations < 1 or not 2 <= self.num_elites <= self.num_candidates:
            raise ConfigError(
                f"A search needs at least 1 iteration and 2 to num_candidates elites, got "
                f"{self.num_iterations} iterations, {self.num_elites} elites of "
                f"{self.num_candidates} candidates. Try 3, 8 and 32."
            )
        if not (self.first_std > 0 and self.min_std >= 0 and self.temperature > 0):
            raise ConfigError(
                f"first_std and temperature must be above 0 and min_std at least 0, got "
                f"{self.first_std}, {self.temperature} and {self.min_std}."
            )


@dataclass(frozen=True, slots=True, eq=False)
class SearchStart:
    """The first distribution: a normal one, independent per step and lane."""

    mean: Float[Tensor, "h a"]
    std: Float[Tensor, "h a"]

    @classmethod
    def wide(
        cls, num_steps: int, num_lanes: int, std: float, device: torch.device | None = None
    ) -> "SearchStart":
        """Begin around zero, knowing nothing."""
        mean = torch.zeros(num_steps, num_lanes, device=device)
        return cls(mean, torch.full_like(mean, std))

    def after(self, num_executed: int) -> "SearchStart":
        """Shift by the steps that were executed; new steps repeat the last mean, std unchanged."""
        kept = torch.arange(self.mean.shape[0], device=self.mean.device) + num_executed
        return SearchStart(self.mean[kept.clamp_max(self.mean.shape[0] - 1)], self.std)


class Optimiser(Protocol):
    """One search. ``tell`` must get what ``ask`` gave, or that with rows replaced or added."""

    def ask(self, rng: torch.Generator) -> Float[Tensor, "k h a"]:
        """Draw candidates, all lanes in [-1, 1]."""
        ...

    def tell(self, candidates: Float[Tensor, "k h a"], values: Float[Tensor, " k"]) -> None:
        """Learn what candidates are worth; larger is better, and nothing may be NaN."""
        ...

    @property
    def mean(self) -> Float[Tensor, "h a"]:
        """The centre of the search now."""
        ...


def make_optimiser(name: str, start: SearchStart, config: SearchConfig) -> Optimiser:
    """Make a search by name.

    Raises:
        UnknownNameError: There is no such optimiser.
        MissingExtraError: It needs a package that an extra installs.
    """
    return OPTIMISERS.load(name)(start, config)


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossEntropyOptions:
    """What turns plain CEM into iCEM (Pinneri et al. 2020, arXiv 2008.06389)."""

    colour: float = 0.0
    """Noise along a sequence has the spectrum 1 / f^colour; 0 is white."""
    kept_share: float = 0.0
    """Share of the elites that come back as candidates of the next iteration."""
    decay: float = 1.0
    """The number of candidates shrinks by this factor per iteration, never below two elites."""
    momentum: float = 0.0
    """Share of the old mean and std in the new ones."""
    adds_mean: bool = False
    """In the last iteration the mean itself is a candidate."""


class CrossEntropy:
    """The cross-entropy method: fit a diagonal normal distribution to the best candidates."""

    def __init__(
        self, start: SearchStart, config: SearchConfig, options: CrossEntropyOptions
    ) -> None:
        """Begin at ``start``."""
        self._mean, self._std = start.mean, start.std
        self._config, self._options = config, options
        self._kept = start.mean[None][:0]
        self._iteration = 0

    @property
    def mean(self) -> Float[Tensor, "h a"]:
        """The centre of the search now."""
        return self._mean

    @property
    def std(self) -> Float[Tensor, "h a"]:
        """The width of the search now."""
        return self._std

    def ask(self, rng: torch.Generator) -> Float[Tensor, "k h a"]:
        """Draw candidates; kept elites come first."""
        config, options = self._config, self._options
        shrunk = round(config.num_candidates / options.decay**self._iteration)
        count = max(min(2 * config.num_elites, config.num_candidates), shrunk)
        noise = coloured_noise(count, self._mean, options.colour, rng)
        drawn = self._mean + self._std * noise
        known = [self._kept]
        if options.adds_mean and self._iteration == config.num_iterations - 1:
            known.append(self._mean[None])
        first = torch.cat(known)
        return torch.cat([first, drawn[len(first) :]]).clamp(-1.0, 1.0)

    def tell(self, candidates: Float[Tensor, "k h a"], values: Float[Tensor, " k"]) -> None:
        """Fit the next distribution to the elites (unbiased std, floored)."""
        check_values(values)
        config, options = self._config, self._options
        best = values.topk(min(config.num_elites, len(values))).indices
        elites = candidates[best]
        std = elites.std(dim=0, unbiased=True) if len(best) > 1 else self._std
        share = options.momentum
        self._mean = share * self._mean + (1 - share) * elites.mean(dim=0)
        self._std = (share * self._std + (1 - share) * std).clamp_min(config.min_std)
        self._kept = elites[: math.ceil(options.kept_share * len(elites))]
        self._iteration += 1


def cem(start: SearchStart, config: SearchConfig) -> CrossEntropy:
    """Make the plain cross-entropy method: white noise, nothing kept."""
    return CrossEntropy(start, config, CrossEntropyOptions())


def icem(start: SearchStart, config: SearchConfig) -> CrossEntropy:
    """Make iCEM: coloured noise, kept elites, fewer candidates later, the mean in the end."""
    options = CrossEntropyOptions(
        colour=ICEM_COLOUR,
        kept_share=ICEM_KEPT_SHARE,
        decay=ICEM_DECAY,
        momentum=ICEM_MOMENTUM,
        adds_mean=True,
    )
    return CrossEntropy(start, config, options)


class Mppi:
    """Path integral control: every candidate counts, by the exponential of its value.

    Williams et al. 2017 (arXiv 1509.01149). As in TD-MPC the std follows the weighted spread.
    """

    def __init__(self, start: SearchStart, config: SearchConfig) -> None:
        """Begin at ``start``."""
        self._mean, self._std, self._config = start.mean, start.std, config

    @property
    def mean(self) -> Float[Tensor, "h a"]:
        """The centre of the search now."""
        return self._mean

    def ask(self, rng: torch.Generator) -> Float[Tensor, "k h a"]:
        """Draw candidates around the mean."""
        noise = coloured_noise(self._config.num_candidates, self._mean, 0.0, rng)
        return (self._mean + self._std * noise).clamp(-1.0, 1.0)

    def tell(self, candidates: Float[Tensor, "k h a"], values: Float[Tensor, " k"]) -> None:
        """Move to the weighted mean of the candidates."""
        check_values(values)
        # In units of the spread, so that one temperature serves rewards of any size.
        spread = values.std(unbiased=False).clamp_min(torch.finfo(values.dtype).tiny)
        logits = (values - values.max()) / (spread * self._config.temperature)
        weights = torch.softmax(logits, dim=0)[:, None, None].to(candidates)
        self._mean = (weights * candidates).sum(dim=0)
        variance = (weights * (candidates - self._mean).square()).sum(dim=0)
        self._std = variance.sqrt().clamp_min(self._config.min_std)


def coloured_noise(
    count: int, like: Float[Tensor, "h a"], colour: float, rng: torch.Generator
) -> Float[Tensor, "k h a"]:
    """Draw normal noise of unit variance with the spectrum 1 / f^colour along axis h.

    Timmer and Koenig 1995, as used by iCEM; frequency zero gets the power of the lowest one.
    """
    num_steps, num_lanes = like.shape
    if num_steps < 2 or colour == 0.0:  # noqa: PLR2004 - one step has no spectrum
        shape = (count, num_steps, num_lanes)
        return torch.randn(shape, generator=rng, device=rng.device).to(like)
    frequencies = torch.fft.rfftfreq(num_steps, device=rng.device)
    frequencies[0] = frequencies[1]
    scale = frequencies ** (-colour / 2)
    waves = torch.randn((2, count, len(scale), num_lanes), generator=rng, device=rng.device)
    # Frequency zero, and the highest one of an even length, have no imaginary part; all others
    # stand for a pair of complex conjugates.
    power = 4.0 * scale.square()
    for edge in (0, -1) if num_steps % 2 == 0 else (0,):
        waves[1, :, edge] = 0.0
        power[edge] /= 4.0
    signal = torch.fft.irfft(torch.complex(*waves) * scale[:, None], n=num_steps, dim=1)
    return (signal * num_steps / power.sum().sqrt()).to(like)


def check_values(values: Float[Tensor, " k"]) -> None:
    """Refuse values that are not numbers.

    Raises:
        ShapeError: Some are not finite.
    """
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise ShapeError(
            f"{bad} of {values.shape[0]} candidates have a value that is not finite. A gauge that "
            f"can be NaN (u_f with one flow substep, u_s with one seed) cannot be planned with."
        )
