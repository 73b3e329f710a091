"""P(diverged within the next h frames), per step, from label-free features.

Standardised features, logistic regression and boosted trees, then isotonic regression on other
episodes, then thresholds on yet others. The task's name is no input. What is saved is plain JSON,
carries the digest of the checkpoint it was fitted for, and is refused by any other.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from reverie.core.config import to_dict
from reverie.core.errors import ConfigError, DataError
from reverie.core.files import write_sealed
from reverie.core.registry import require_extra
from reverie.hallucination.conformal import GroupThreshold, find_threshold
from reverie.hallucination.features import feature_names
from reverie.hallucination.fits import check_setup, commit_signal, read_fit
from reverie.hallucination.instant import InstantMap
from reverie.hallucination.predictors import NUM_SEEDS
from reverie.hallucination.trees import Trees, fit_trees, mix_logits, with_share
from reverie.models.api import WorldModel

FORMAT_VERSION = 3
FILE_NAME = "calibration.json"
AHEAD = 8
"""Frames ahead that the probability speaks of."""
CONTEXT = 8
"""Real frames before a dream (arXiv 2606.27326); the page gathers as many."""
MIN_POSITIVES = 200
"""A domain with fewer diverged steps shares the isotonic map of all."""
PLATEAU_SLOPE = 0.02
"""Share of the plain logistic probability in the result, so that plateaus keep their order."""
STRENGTH = 0.01
"""Inverse of the L2 penalty: few episodes, many features that say nearly the same."""
STRENGTHS = (0.001, 0.003, 0.01, 0.1)
"""Penalties among which tasks that were left out choose."""
SHARES = (0.0, 0.5, 1.0)
"""Parts of the logit that trees may have; tasks that were left out choose."""
REMEDY = "Fit it with: reverie calibrate MODEL"


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationSetup:
    """What the features depend on; a calibration of another set-up does not carry over."""

    checkpoint: str
    """Digest of the model's weights and config."""
    num_flow_steps: int
    commit_signal: float
    """Signal at which frames enter the model's context (one minus the context noise)."""
    num_seeds: int
    normaliser: str
    """What readings are divided by before the map; ``none``: motion is a feature of its own."""
    context: int
    """Real frames before each dream."""


def calibration_setup(checkpoint: str, world: WorldModel) -> CalibrationSetup:
    """Describe what a calibration of a model depends on, as the model would run now.

    Args:
        checkpoint: Digest of its weights; see ``models.load.model_digest``.
        world: The model.
    """
    return CalibrationSetup(
        checkpoint=checkpoint,
        num_flow_steps=world.num_flow_steps,
        commit_signal=commit_signal(world),
        num_seeds=NUM_SEEDS,
        normaliser="none",
        context=min(CONTEXT, world.max_context),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class LogisticMap:
    """Standardised features to a logit."""

    channels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float

    def __post_init__(self) -> None:
        """Refuse a map whose parts have different lengths."""
        width = len(feature_names(self.channels))
        if not width == len(self.mean) == len(self.std) == len(self.weights):
            raise ConfigError(
                f"The channels {', '.join(self.channels)} give {width} features, the map has "
                f"{len(self.weights)} weights. It is damaged; {REMEDY}"
            )

    def logit(self, features: Float[np.ndarray, "*any f"]) -> Float[np.ndarray, "*any"]:
        """Return the logit of each row; not-a-number where a needed feature is."""
        standard = (features - np.array(self.mean)) / np.array(self.std)
        return standard @ np.array(self.weights) + self.bias


@dataclass(frozen=True, kw_only=True, slots=True)
class IsotonicMap:
    """A rising curve through knots, linear between them and flat beyond the ends."""

    readings: tuple[float, ...]
    values: tuple[float, ...]

    def apply(self, readings: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """Return the value at each reading; not-a-number stays so."""
        return np.asarray(np.interp(readings, self.readings, self.values))


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """All that turns the features of a step into a probability and a flag."""

    format_version: int
    setup: CalibrationSetup
    ahead: int
    logistic: LogisticMap
    isotonic: IsotonicMap
    isotonic_by_domain: dict[str, IsotonicMap]
    domains: dict[str, str]
    """Task to domain, of the tasks it was fitted on."""
    thresholds: dict[str, dict[str, GroupThreshold]]
    """False-alarm rate (as text) to task or domain to threshold."""
    instant: InstantMap | None
    """The weaker map of a single step, for planners; None where it could not be fitted."""
    consistency_median: dict[str, float]
    """Task to the usual context consistency of real frames."""
    num_dreams: int
    num_twins: int
    """Dreams beside each dream that the features were made with; a watch needs as many."""
    provenance: dict[str, Any]
    """Series of episodes, behaviours, seeds and command."""
    trees: Trees | None = None
    """What speaks beside the logistic map; None where that alone was better."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels that the map needs."""
        return self.logistic.channels

    def probability(
        self, features: Float[np.ndarray, "n *t f"], tasks: Sequence[str]
    ) -> Float[np.ndarray, "n *t"]:
        """Return P(diverged within ``ahead`` frames) for the features of each dream.

        Args:
            features: In the order of ``feature_names(self.channels)``.
            tasks: One a dream; only chooses the domain's isotonic map.
        """
        logits = mix_logits(self.logistic.logit(features), self.trees, features)
        return self.from_logits(logits, tasks)

    def from_logits(
        self, logits: Float[np.ndarray, "n *t"], tasks: Sequence[str]
    ) -> Float[np.ndarray, "n *t"]:
        """Return the probability of logits, through the curve of each task's domain."""
        found = np.empty_like(logits)
        for row, task in enumerate(tasks):
            curve = self.isotonic_by_domain.get(self.domains.get(task, ""), self.isotonic)
            mine = slice(row, row + 1)
            found[mine] = blend(curve.apply(logits[mine]), logits[mine])
        return found

    def threshold(self, task: str, alpha: float = 0.05) -> GroupThreshold:
        """Return the threshold of a task, else of its domain, else the pooled one.

        Raises:
            ConfigError: No threshold was fitted for this rate.
        """
        key = rate_key(alpha)
        if key not in self.thresholds:
            raise ConfigError(
                f"This calibration has thresholds for false-alarm rates "
                f"{', '.join(self.thresholds)}, not for {key}. {REMEDY} --rates {key}"
            )
        group = self.thresholds[key]
        own = group.get(task)
        if own is not None and not own.is_fallback:
            return own
        return find_threshold(group, self.domains.get(task, ""))

    def save(self, folder: Path) -> Path:
        """Write ``calibration.json`` into the model's folder."""
        path = folder / FILE_NAME
        write_sealed(path, to_dict(self))
        return path


def rate_key(alpha: float) -> str:
    """Return the name of a false-alarm rate in the file."""
    return f"{alpha:g}"


def blend(
    curve: Float[np.ndarray, "*any"], logits: Float[np.ndarray, "*any"]
) -> Float[np.ndarray, "*any"]:
    """Give plateaus of the isotonic curve a slight slope, so that thresholds can tell them apart.

    # Differs from plain isotonic regression: 2 % of the result is the logistic probability.
    """
    plain = 1.0 / (1.0 + np.exp(-np.clip(logits, -50.0, 50.0)))
    return (1.0 - PLATEAU_SLOPE) * curve + PLATEAU_SLOPE * plain


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Weights:
    """A fitted logistic regression on standardised columns."""

    mean: Float[np.ndarray, " f"]
    std: Float[np.ndarray, " f"]
    weights: Float[np.ndarray, " f"]
    bias: float

    def logit(self, features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, " n"]:
        """Return the logit of each row."""
        standard: Float[np.ndarray, "n f"] = (features - self.mean) / self.std
        return standard @ self.weights + self.bias

    def to_logistic(self, channels: Sequence[str]) -> LogisticMap:
        """Return the map as it is stored, with the names of its channels."""
        return LogisticMap(
            channels=tuple(channels),
            mean=tuple(self.mean.tolist()),
            std=tuple(self.std.tolist()),
            weights=tuple(self.weights.tolist()),
            bias=self.bias,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class MapChoice:
    """How features become a logit."""

    channels: tuple[str, ...]
    strength: float = STRENGTH
    """Inverse of the L2 penalty of the logistic part."""
    share: float = 0.0
    """Of the trees."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FittedMap:
    """A logistic regression, and trees that may speak beside it."""

    weights: Weights
    trees: Trees | None

    def logit(self, features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, " n"]:
        """Return the logit of each row."""
        return mix_logits(self.weights.logit(features), self.trees, features)


def fit_map(
    features: Float[np.ndarray, "n f"], labels: Shaped[np.ndarray, " n"], choice: MapChoice
) -> FittedMap:
    """Fit both parts of a map; see ``fit_weights``."""
    weights = fit_weights(features, labels, strength=choice.strength)
    if not choice.share:
        return FittedMap(weights=weights, trees=None)
    kept = _usable(features, labels)
    trees = with_share(fit_trees(features[kept], labels[kept] > 0), choice.share)
    return FittedMap(weights=weights, trees=trees)


def left_out_losses(
    features: Float[np.ndarray, "n f"],
    labels: Shaped[np.ndarray, " n"],
    groups: Sequence[str] | Shaped[np.ndarray, " n"],
    choices: Sequence[MapChoice],
) -> list[float]:
    """Return the mean log loss of each map on groups that its fit did not see.

    Each group weighs the same. Groups of which the rest cannot be fitted (one label only) are left
    out; infinite if all are.

    Args:
        features: One row a step.
        labels: 1, 0 or NaN.
        groups: Such as the task of each row.
        choices: Maps of these features.
    """
    names, losses = np.asarray(groups), list[list[float]]()
    usable = _usable(features, labels)
    asks_trees = any(choice.share for choice in choices)
    strengths = {choice.strength for choice in choices}
    for group in dict.fromkeys(names.tolist()):
        mine, rest = usable & (names == group), usable & (names != group)
        if not mine.any() or len(np.unique(labels[rest])) < 2:
            continue
        trees = fit_trees(features[rest], labels[rest] > 0) if asks_trees else None
        weights = {
            strength: fit_weights(features[rest], labels[rest], strength=strength)
            for strength in strengths
        }
        losses.append(
            [
                _log_loss(
                    FittedMap(
                        weights=weights[choice.strength], trees=with_share(trees, choice.share)
                    ),
                    features[mine],
                    labels[mine],
                )
                for choice in choices
            ]
        )
    return np.mean(losses, axis=0).tolist() if losses else [math.inf] * len(choices)


def _log_loss(
    fitted: FittedMap, features: Float[np.ndarray, "n f"], labels: Shaped[np.ndarray, " n"]
) -> float:
    # log(1 + exp(z)) of the other side, without overflow.
    wrong = np.where(labels > 0, -1.0, 1.0) * fitted.logit(features)
    return float(np.logaddexp(0.0, wrong).mean())


def _usable(
    features: Float[np.ndarray, "n f"], labels: Shaped[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    return np.isfinite(features).all(axis=1) & np.isfinite(labels)


def fit_weights(
    features: Float[np.ndarray, "n f"],
    labels: Shaped[np.ndarray, " n"],
    *,
    strength: float = STRENGTH,
) -> Weights:
    """Fit a logistic regression with an L2 penalty; rows that are not finite are left out.

    Args:
        features: One row a step.
        labels: 1, 0 or NaN.
        strength: Inverse of the penalty (scikit-learn's C).

    Raises:
        DataError: No row is usable, or all have one label.
    """
    linear = require_extra("sklearn.linear_model", "eval", "fit a calibration")
    kept = _usable(features, labels)
    chosen, target = features[kept], labels[kept] > 0
    if len(np.unique(target)) < 2:
        raise DataError(
            f"A calibration needs steps that diverged and steps that did not; of {len(features)} "
            f"steps {int(kept.sum())} are usable and {int(target.sum())} of those diverge. Dream "
            f"more episodes, or other tasks. A feature that is never a number (u_f with one "
            f"substep) must be left out."
        )
    mean, std = chosen.mean(axis=0), chosen.std(axis=0)
    std = np.where(std > 1e-9, std, 1.0)
    model = linear.LogisticRegression(C=strength, max_iter=2000)
    model.fit((chosen - mean) / std, target)
    return Weights(
        mean=mean, std=std, weights=np.asarray(model.coef_[0]), bias=float(model.intercept_[0])
    )


def fit_isotonic(
    readings: Float[np.ndarray, " n"], labels: Shaped[np.ndarray, " n"]
) -> IsotonicMap:
    """Fit the rising curve of least squares (pool adjacent violators); NaN is left out."""
    isotonic = require_extra("sklearn.isotonic", "eval", "fit a calibration")
    kept = np.isfinite(readings) & np.isfinite(labels)
    if not kept.any():
        raise DataError("An isotonic map needs at least one step with a known label, got none.")
    model = isotonic.IsotonicRegression(out_of_bounds="clip", y_min=0.0, y_max=1.0)
    model.fit(readings[kept], np.asarray(labels[kept], dtype=np.float64))
    return IsotonicMap(
        readings=tuple(float(value) for value in model.X_thresholds_),
        values=tuple(float(value) for value in model.y_thresholds_),
    )


def fit_domain_isotonics(
    logits: Float[np.ndarray, "n t"],
    labels: Float[np.ndarray, "n t"],
    domains: Sequence[str],
) -> dict[str, IsotonicMap]:
    """Fit a curve for every domain with at least ``MIN_POSITIVES`` diverged steps."""
    names = np.asarray(domains)
    maps: dict[str, IsotonicMap] = {}
    for domain in dict.fromkeys(domains):
        mine = names == domain
        if np.nansum(labels[mine]) >= MIN_POSITIVES:
            maps[domain] = fit_isotonic(logits[mine].reshape(-1), labels[mine].reshape(-1))
    return maps


def good_scores(
    probability: Float[np.ndarray, "n t"], has_diverged: Bool[np.ndarray, "n t"]
) -> tuple[Float[np.ndarray, " k"], Bool[np.ndarray, " n"]]:
    """Return the largest probability of every dream that never diverged, and which those are."""
    is_good = ~has_diverged.any(axis=1)
    return probability[is_good].max(axis=1), is_good


def load_calibration(folder: Path, expected: CalibrationSetup) -> Calibration:
    """Read a model's calibration and check that it was fitted for it as it runs now.

    Raises:
        DataError: There is none, or the file cannot be read.
        CheckpointError: It is of another version, or was fitted for other weights, substeps,
            noise, seeds or context.
    """
    path = folder / FILE_NAME
    calibration = read_fit(
        Calibration,
        path,
        missing="calibrated probability",
        remedy=REMEDY,
        version=FORMAT_VERSION,
    )
    check_setup(path, calibration.setup, expected, what="Calibrations", remedy=REMEDY)
    return calibration


def check_probability(probability: float, *, where: str) -> float:
    """Return a probability; refuse one that is not a number.

    Raises:
        ConfigError: A reading behind it is undefined, so nothing may be planned with it.
    """
    if math.isnan(probability):
        raise ConfigError(
            f"The probability of divergence {where} is not a number: a reading it needs is "
            f"undefined (u_f with one substep, u_s with one seed). Refit the calibration for the "
            f"model as it runs, or plan with another gauge."
        )
    return probability


def domain_of(tasks: Sequence[str], domains: Mapping[str, str]) -> list[str]:
    """Return the domain of each task; a task without one is its own."""
    return [domains.get(task, task) for task in tasks]
