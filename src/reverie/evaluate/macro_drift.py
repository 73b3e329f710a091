"""For how many macro steps do the statistics of dreams match those of real play?

A macro step is a few moves that were decided together. Marginals are compared, as over a whole set
of rollouts: who is still alive, and where the latents lie.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from reverie.core.errors import ConfigError
from reverie.evaluate.latent_drift import gaussian_kl

KL_LIMIT = 2.0
"""Dreams match while their divergence is below so many times the floor's 95th percentile."""
MIN_ALIVE = 8
"""With fewer rollouts alive on a side nothing is compared any more."""
_Z95 = 1.96


@dataclass(frozen=True, kw_only=True, slots=True)
class MacroStep:
    """What was found after one macro step."""

    step: int
    """From 1."""
    dream_alive: float
    real_alive: float
    is_survival_alike: bool
    """Whether the 95 % bands of the two shares overlap."""
    kl_nats: float | None
    """KL(dreamed || real) of the latents of rollouts alive; None with too few of them."""
    floor_95_nats: float | None
    """95th percentile of the same between random halves of the real ones."""

    @property
    def is_match(self) -> bool:
        """Whether dreams still look like real play."""
        if self.kl_nats is None or self.floor_95_nats is None:
            return self.is_survival_alike
        return self.is_survival_alike and self.kl_nats < KL_LIMIT * self.floor_95_nats


@dataclass(frozen=True, kw_only=True, slots=True)
class MacroDrift:
    """The whole course."""

    steps: tuple[MacroStep, ...]
    num_dreams: int
    num_real: int

    @property
    def first_failure(self) -> int | None:
        """The first macro step after which dreams no longer match; None if all do."""
        return next((one.step for one in self.steps if not one.is_match), None)


def measure_macro_drift(
    dreamed: Float[np.ndarray, "r t d"],
    dream_alive: Bool[np.ndarray, "r t"],
    real: Float[np.ndarray, "q t d"],
    real_alive: Bool[np.ndarray, "q t"],
    *,
    rng: np.random.Generator,
    num_splits: int = 20,
) -> MacroDrift:
    """Compare dreams with real play after each macro step.

    Args:
        dreamed: Latents of the dreams; what lies where none is alive does not count.
        dream_alive: Where a dream goes on.
        real: Latents of real frames, drawn from their posteriors as the dreams' are.
        real_alive: Where an episode goes on.
        rng: Splits the real rollouts.
        num_splits: Splits of the floor.

    Raises:
        ConfigError: There are too few rollouts to say anything.
    """
    if min(len(dreamed), len(real)) < 2 * MIN_ALIVE:
        raise ConfigError(
            f"At least {2 * MIN_ALIVE} rollouts are needed on each side, got {len(dreamed)} and "
            f"{len(real)}."
        )
    steps: list[MacroStep] = []
    for index in range(dreamed.shape[1]):
        ours, theirs = dream_alive[:, index], real_alive[:, index]
        kl, floor = None, None
        # The floor is between halves, so the real side needs twice as many.
        if ours.sum() >= MIN_ALIVE and theirs.sum() >= 2 * MIN_ALIVE:
            truth = real[theirs, index]
            kl = gaussian_kl(dreamed[ours, index], truth)
            floor = _floor(truth, rng, num_splits)
        low_ours, high_ours = _band(ours)
        low_theirs, high_theirs = _band(theirs)
        steps.append(
            MacroStep(
                step=index + 1,
                dream_alive=float(ours.mean()),
                real_alive=float(theirs.mean()),
                is_survival_alike=low_ours <= high_theirs and low_theirs <= high_ours,
                kl_nats=kl,
                floor_95_nats=floor,
            )
        )
    return MacroDrift(steps=tuple(steps), num_dreams=len(dreamed), num_real=len(real))


def _floor(truth: Float[np.ndarray, "r d"], rng: np.random.Generator, num_splits: int) -> float:
    half = len(truth) // 2
    found: list[float] = []
    for _ in range(num_splits):
        order = rng.permutation(len(truth))
        found.append(gaussian_kl(truth[order[:half]], truth[order[half:]]))
    return float(np.quantile(found, 0.95))


def _band(alive: Bool[np.ndarray, " r"]) -> tuple[float, float]:
    """Return the interval of Wilson 1927 for the share alive."""
    count, share, square = len(alive), float(alive.mean()), _Z95**2
    centre = (share + square / (2 * count)) / (1 + square / count)
    spread = np.sqrt(share * (1 - share) / count + square / (4 * count**2))
    half = float(_Z95 * spread / (1 + square / count))
    return centre - half, centre + half
