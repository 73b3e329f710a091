"""How far imagined latents are from real ones under the same actions, beside the noise floor."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from reverie.core.errors import ConfigError

STD_FLOOR = 1e-3
"""Real dimensions that vary less are floored here, and counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentDrift:
    """Divergence of imagined from real latents."""

    kl_nats: float
    """KL(imagined || real) of diagonal Gaussians, summed over dimensions, mean over offsets."""
    floor_nats: float
    """The same between random halves of the real rows: what no model can get below."""
    floor_nats_95: float
    """95th percentile of the floor over its splits."""
    per_offset_nats: tuple[float, ...]
    rmse: tuple[float, ...]
    """Error of the imagined latents at each offset: marginals can agree while every dream is
    wrong."""
    persistence_rmse: tuple[float, ...]
    """The same for the start repeated."""
    num_floored: int

    @property
    def ratio(self) -> float:
        """KL over its floor; 1 is perfect."""
        return self.kl_nats / self.floor_nats if self.floor_nats > 0 else float("nan")


def measure_drift(
    imagined: Float[np.ndarray, "r t d"],
    real: Float[np.ndarray, "r t d"],
    alive: Bool[np.ndarray, "r t"],
    start: Float[np.ndarray, "r d"],
    *,
    rng: np.random.Generator,
    num_splits: int = 20,
) -> LatentDrift:
    """Compare dreams with what really happened after the same starts under the same actions.

    Args:
        imagined: Latents of the dreams.
        real: Latents of the real frames, drawn from their posteriors as the dreams' are.
        alive: Where neither episode nor dream has ended; other rows do not count.
        start: The latent that both began from.
        rng: Splits the real rows.
        num_splits: Splits of the floor.

    Raises:
        ConfigError: There are no rows alive to compare.
    """
    kls: list[float] = []
    floors: list[list[float]] = [[] for _ in range(num_splits)]
    errors: list[float] = []
    still: list[float] = []
    num_floored = 0
    for offset in range(real.shape[1]):
        rows = np.flatnonzero(alive[:, offset])
        if len(rows) < 4:
            break
        truth, dreamed = real[rows, offset], imagined[rows, offset]
        num_floored += int((truth.std(axis=0) < STD_FLOOR).sum())
        kls.append(gaussian_kl(dreamed, truth))
        errors.append(float(np.sqrt(np.mean((dreamed - truth) ** 2))))
        still.append(float(np.sqrt(np.mean((start[rows] - truth) ** 2))))
        for split in floors:
            order = rng.permutation(len(rows))
            half = len(rows) // 2
            split.append(gaussian_kl(truth[order[:half]], truth[order[half:]]))
    if not kls:
        raise ConfigError("No dream is alive beside its real episode. Measure on longer episodes.")
    means = [float(np.mean(split)) for split in floors]
    return LatentDrift(
        kl_nats=float(np.mean(kls)),
        floor_nats=float(np.mean(means)),
        floor_nats_95=float(np.quantile(means, 0.95)),
        per_offset_nats=tuple(kls),
        rmse=tuple(errors),
        persistence_rmse=tuple(still),
        num_floored=num_floored,
    )


def gaussian_kl(ours: Float[np.ndarray, "r d"], reference: Float[np.ndarray, "q d"]) -> float:
    """Return KL(ours || reference) of diagonal Gaussians fitted to rows, summed over dimensions."""
    std, wanted = (np.maximum(x.std(axis=0), STD_FLOOR) for x in (ours, reference))
    shift = (ours.mean(axis=0) - reference.mean(axis=0)) / wanted
    ratio = std / wanted
    return float(0.5 * np.sum(ratio**2 + shift**2 - 1 - 2 * np.log(ratio)))
