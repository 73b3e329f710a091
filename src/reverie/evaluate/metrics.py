"""Errors of pictures and what is made of them: PSNR, rollout gain, divergence, action ratios."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

MIN_MSE = 1e-12
"""Mean squared errors are raised to this before a logarithm: 120 dB."""
STATIC_MSE = 1e-6
"""A clip whose repeated last frame errs less does not move: above 60 dB."""
STATIC_DIVERGED_DB = -1.0
"""A static clip has diverged if its gain over the decoded still is this low."""
TRAILING_STEPS = 4
"""Steps of the trailing means in the per-step gain."""
STEP_OFFSET = 1e-6
"""Added to both errors of the per-step gain, so that still scenes give no wild values."""
MIN_TRUE_ERROR = 1e-10
"""Below this error under the true actions, an action ratio says nothing."""
IGNORED_RATIO = 1.1
"""Up to this action-shuffle ratio the action counts as ignored (arXiv 2606.27326)."""


def frame_errors(
    first: Shaped[np.ndarray, "*any h w c"], second: Shaped[np.ndarray, "*any h w c"]
) -> Float[np.ndarray, "*any"]:
    """Return the mean squared error of each frame, in [0, 1] units; uint8 is divided by 255."""
    difference = _unit(first) - _unit(second)
    return np.asarray(np.mean(np.square(difference), axis=(-3, -2, -1), dtype=np.float64))


def _unit(frames: Shaped[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    if frames.dtype == np.uint8:
        return frames.astype(np.float32) / np.float32(255)
    return frames


def psnr(mse: Float[np.ndarray, "*any"] | float) -> Float[np.ndarray, "*any"]:
    """Return the peak signal-to-noise ratio in dB of mean squared errors on [0, 1]."""
    # np.asarray: NumPy turns results without axes into scalars.
    return np.asarray(-10.0 * np.log10(np.maximum(np.asarray(mse, dtype=np.float64), MIN_MSE)))


def gain_db(
    dream: Float[np.ndarray, "*any"] | float, still: Float[np.ndarray, "*any"] | float
) -> Float[np.ndarray, "*any"]:
    """Return by how many dB a dream is better than a repeated frame, from mean squared errors.

    Pool the errors over the frames of **one clip** first; never over clips or tasks.
    """
    return np.asarray(psnr(dream) - psnr(still))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClipGains:
    """Rollout gains of the clips of one task."""

    gain: Float[np.ndarray, " clips"]
    """Over the last context frame repeated, dB."""
    gain_decoded: Float[np.ndarray, " clips"]
    """Over that frame encoded, decoded and repeated, dB: the dynamics alone."""
    is_static: Bool[np.ndarray, " clips"]
    """Nothing moves in the clip; left out of means and correlations, and counted."""

    @classmethod
    def of(
        cls,
        *,
        dream: Float[np.ndarray, "clips t"],
        still: Float[np.ndarray, "clips t"],
        decoded_still: Float[np.ndarray, "clips t"],
    ) -> "ClipGains":
        """Compute the gains from mean squared errors per frame."""
        pooled = [errors.mean(axis=1) for errors in (dream, still, decoded_still)]
        return cls(
            gain=gain_db(pooled[0], pooled[1]),
            gain_decoded=gain_db(pooled[0], pooled[2]),
            is_static=pooled[1] < STATIC_MSE,
        )

    @property
    def has_diverged(self) -> Bool[np.ndarray, " clips"]:
        """True where the dream is no better than a still; for static clips, clearly worse."""
        return np.where(self.is_static, self.gain_decoded <= STATIC_DIVERGED_DB, self.gain <= 0.0)

    @property
    def moving_gain(self) -> Float[np.ndarray, " clips"]:
        """The gain, NaN for static clips."""
        return np.where(self.is_static, np.nan, self.gain)


def step_gains(
    dream: Float[np.ndarray, "clips t"],
    decoded_still: Float[np.ndarray, "clips t"],
    window: int = TRAILING_STEPS,
) -> Float[np.ndarray, "clips t"]:
    """Return the gain in dB at each dreamed step, from trailing means of both errors.

    The still is the decoded one: a raw frame carries no tokenizer error and would win the first
    steps of every slow task.
    """
    above, below = _trailing_mean(decoded_still, window), _trailing_mean(dream, window)
    return 10.0 * np.log10((above + STEP_OFFSET) / (below + STEP_OFFSET))


def _trailing_mean(
    values: Float[np.ndarray, "clips t"], window: int
) -> Float[np.ndarray, "clips t"]:
    columns = [
        values[:, max(0, step - window + 1) : step + 1].mean(axis=1)
        for step in range(values.shape[1])
    ]
    return np.stack(columns, axis=1)


def onsets(has_diverged: Bool[np.ndarray, "clips t"]) -> Float[np.ndarray, " clips"]:
    """Return the first diverged step of each clip, counted from 1; NaN where there is none."""
    first = has_diverged.argmax(axis=1) + 1.0
    return np.where(has_diverged.any(axis=1), first, np.nan)


def diverges_within(
    has_diverged: Bool[np.ndarray, "clips t"], num_steps: int
) -> Float[np.ndarray, "clips t"]:
    """Return 1 where any of the next ``num_steps`` steps is diverged, NaN where that is unseen."""
    ahead = np.full(has_diverged.shape, np.nan)
    for step in range(has_diverged.shape[1] - num_steps):
        ahead[:, step] = has_diverged[:, step + 1 : step + 1 + num_steps].any(axis=1)
    return ahead


def action_ratio(true: Float[np.ndarray, " w"], other: Float[np.ndarray, " w"]) -> float:
    """Return mean error under other actions divided by mean error under the true ones.

    Windows where ``other`` is NaN had no donor and are left out of both means. NaN if none is
    left ("actions do not vary") or if the error under true actions is too small to compare with.
    """
    kept = np.isfinite(other)
    if not kept.any():
        return float("nan")
    base = float(true[kept].mean())
    return float("nan") if base < MIN_TRUE_ERROR else float(other[kept].mean()) / base


def window_ratios(
    true: Float[np.ndarray, " w"], other: Float[np.ndarray, " w"]
) -> Float[np.ndarray, " w"]:
    """Return the action ratio of each window by itself; NaN where it is undefined."""
    usable = np.isfinite(other) & (true >= MIN_TRUE_ERROR)
    return np.divide(other, true, out=np.full(true.shape, np.nan), where=usable)


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """How a rollout falls behind what its tokenizer could show, segment by segment."""

    gap_db: tuple[float, ...]
    """Tokenizer ceiling minus rollout PSNR in each segment; pooled over clips."""
    slope_db: float
    """Least-squares slope of the gap, dB per segment."""


def measure_drift(
    dream: Float[np.ndarray, "clips t"], ceiling: Float[np.ndarray, "clips t"], segment: int = 4
) -> Drift:
    """Compare mean squared errors of dream and tokenizer in segments of a few frames."""
    starts = range(0, dream.shape[1] - segment + 1, segment)
    gaps = tuple(
        float(
            psnr(ceiling[:, start : start + segment].mean())
            - psnr(dream[:, start : start + segment].mean())
        )
        for start in starts
    )
    slope = float(np.polyfit(np.arange(len(gaps)), gaps, 1)[0]) if len(gaps) > 1 else float("nan")
    return Drift(gap_db=gaps, slope_db=slope)
