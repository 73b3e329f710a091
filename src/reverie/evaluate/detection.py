"""Fit a calibrated probability to watched dreams, and judge it beside every baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64

from reverie.core.seeds import numpy_rng
from reverie.evaluate.calibration import (
    DetectionScore,
    ProbabilityScore,
    is_settled,
    score_detection,
    score_groups,
    score_probability,
)
from reverie.evaluate.discrimination import FiveNumbers, auroc, auroc_numbers, spearman_numbers
from reverie.evaluate.metrics import diverges_within
from reverie.evaluate.watched import GAIN_STEPS, WatchedDreams
from reverie.hallucination.calibrate import (
    AHEAD,
    FORMAT_VERSION,
    SHARES,
    STRENGTHS,
    Calibration,
    CalibrationSetup,
    FittedMap,
    MapChoice,
    domain_of,
    fit_domain_isotonics,
    fit_isotonic,
    fit_map,
    fit_weights,
    good_scores,
    left_out_losses,
    rate_key,
)
from reverie.hallucination.conformal import (
    NEVER,
    POOLED,
    GroupThreshold,
    conformal_quantile,
    deal_folds,
    mondrian,
)
from reverie.hallucination.consistency import real_consistency
from reverie.hallucination.features import PUBLISHED, WATCHED, dream_features
from reverie.hallucination.instant import READINGS, InstantMap, instant_feature
from reverie.hallucination.novelty import NoveltyBank

RATES = (0.01, 0.05, 0.1, 0.2)
"""False-alarm rates that thresholds are fitted for."""
ALPHA = 0.05
"""The rate that is judged."""
NUM_FOLDS = 4
"""Parts of the episodes; each is read by a map that was fitted on the others."""
SPLIT_SEED = 0
CHOICE_STRIDE = 3
"""A map is chosen on every third step of a dream: neighbours say nearly the same, and choosing fits
some hundred maps."""
NOVELTY = ("knn_global", "knn_local")
GAINS = (
    *("expected_gain", "twin_gain", "twin_worst", "raw_gain", "raw_total", "still_total"),
    *("hindcast_gain", "step"),
)
"""What the gain would be if the twins were the truth, and what it was a moment ago."""
SCENE = ("ceiling", "context_motion", "slowing", "outlier", "u_r", "m")
PROBABILITY = "probability"
OPTIONS: tuple[tuple[str, ...], ...] = (GAINS, (*GAINS, *SCENE), (*WATCHED, "knn_global"))
"""Channels of the probability, of which tasks that were left out of the fit choose one."""
CANDIDATES: Mapping[str, tuple[str, ...]] = {
    PROBABILITY: GAINS,
    "expected gains": ("raw_gain",),
    "published readings": PUBLISHED,
    "u_r": ("u_r",),
    "u_f": ("u_f",),
    "u_s": ("u_s",),
    "u_r and motion": ("u_r", "m"),
    "u_f and motion": ("u_f", "m"),
    "u_s and motion": ("u_s", "m"),
    "motion": ("m",),
    "kNN global": ("knn_global",),
    "kNN local": ("knn_local",),
    "steps since context": ("step",),
}
"""Names of probabilities to the channels they may use; all go through the same pipeline."""
IDENTITY = "task identity"
"""The share of diverged steps of the task: what knowing only the task gives."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FitOrder:
    """What a fit is told besides the dreams."""

    setup: CalibrationSetup
    domains: Mapping[str, str]
    channels: tuple[str, ...] = GAINS
    options: tuple[tuple[str, ...], ...] = ()
    """Sets of channels to choose from instead, by the loss on tasks left out of the fit."""
    strengths: tuple[float, ...] = STRENGTHS
    """Penalties to choose from in the same way."""
    shares: tuple[float, ...] = SHARES
    """Parts of the logit that trees may have, to choose from in the same way."""
    rates: tuple[float, ...] = RATES


def steps_ahead(dreams: WatchedDreams, ahead: int = AHEAD) -> Float[np.ndarray, "n t"]:
    """Return the label of every step: diverges within ``ahead`` frames; NaN where unseen."""
    return diverges_within(dreams.has_diverged, ahead)


def build_bank(dreams: WatchedDreams, *, num_per_task: int, seed: int = 0) -> NoveltyBank:
    """Draw a novelty bank from the real frames of watched dreams."""
    names = np.asarray(dreams.task)
    latents, actions, episodes = {}, {}, {}
    for task in dict.fromkeys(dreams.task):
        rows = np.flatnonzero(names == task)
        later = dreams.true[rows, dreams.num_context :]
        latents[task] = torch.from_numpy(later.reshape(-1, *later.shape[2:]))
        actions[task] = torch.from_numpy(dreams.actions[rows].reshape(latents[task].shape[0], -1))
        episodes[task] = np.repeat(dreams.episode[rows], dreams.horizon)
    return NoveltyBank.build(
        latents, actions, episodes, num_per_task=num_per_task, rng=numpy_rng(seed, "bank")
    )


def with_novelty(dreams: WatchedDreams, bank: NoveltyBank, *, excludes_own: bool) -> WatchedDreams:
    """Add the kNN signals.

    Args:
        dreams: What was watched.
        bank: Real frames.
        excludes_own: True where the bank was drawn from these very episodes.
    """
    found: dict[str, list[np.ndarray]] = {name: [] for name in NOVELTY}
    episode = torch.from_numpy(dreams.episode) if excludes_own else None
    for step in range(dreams.horizon):
        distances = bank.distances(
            torch.from_numpy(dreams.dreamed[:, step]),
            torch.from_numpy(dreams.actions[:, step]),
            dreams.task,
            episode,
        )
        for name in NOVELTY:
            found[name].append(distances[name].double().numpy())
    signals = {name: np.stack(values, axis=1) for name, values in found.items()}
    return replace(dreams, signals={**dreams.signals, **signals})


def features_of(dreams: WatchedDreams, channels: Sequence[str]) -> Float[np.ndarray, "n t f"]:
    """Turn what was watched into features."""
    signals = {name: torch.from_numpy(values) for name, values in dreams.signals.items()}
    return dream_features(signals, channels).numpy()


def fit_calibration(dreams: WatchedDreams, order: FitOrder) -> Calibration:
    """Fit map, curve and thresholds; what a dream teaches never judges that dream.

    # Differs from a split in three: every dream is read by a map, and judged by a curve, fitted
    # without its episode (cross-conformal prediction, Vovk 2015). Few dreams stay good for 32
    # frames; a quarter of them would rarely be the 19 that a false-alarm rate of 5 % needs.

    Raises:
        DataError: No dream diverges, or every one does.
    """
    choice = choose_map(dreams, order)
    features, labels = features_of(dreams, choice.channels), steps_ahead(dreams)
    folds = _folds(dreams)
    domains = domain_of(dreams.task, order.domains)
    maps = _left_out_maps(features, labels, folds, choice)
    logits = _read_left_out(maps, features, folds)
    whole = fit_map(_flat(features), labels.reshape(-1), choice)
    calibration = Calibration(
        format_version=FORMAT_VERSION,
        setup=order.setup,
        ahead=AHEAD,
        logistic=whole.weights.to_logistic(choice.channels),
        trees=whole.trees,
        isotonic=fit_isotonic(logits.reshape(-1), labels.reshape(-1)),
        isotonic_by_domain=fit_domain_isotonics(logits, labels, domains),
        domains={task: order.domains.get(task, task) for task in dict.fromkeys(dreams.task)},
        thresholds={},
        instant=_fit_instant(dreams, folds, order.rates),
        consistency_median=_consistency(dreams),
        num_dreams=dreams.num_rows,
        num_twins=dreams.num_twins,
        provenance={},
    )
    probability = np.empty_like(logits)
    for fold in np.unique(folds):
        mine, rest = folds == fold, folds != fold
        others = [name for name, keep in zip(domains, rest, strict=True) if keep]
        curves = replace(
            calibration,
            isotonic=fit_isotonic(logits[rest].reshape(-1), labels[rest].reshape(-1)),
            isotonic_by_domain=fit_domain_isotonics(logits[rest], labels[rest], others),
        )
        tasks = [dreams.task[row] for row in np.flatnonzero(mine)]
        probability[mine] = curves.from_logits(logits[mine], tasks)
    scores, is_good = good_scores(probability, dreams.has_diverged)
    good_tasks = [task for task, good in zip(dreams.task, is_good, strict=True) if good]
    return replace(
        calibration,
        thresholds={
            rate_key(rate): {
                **mondrian(scores, domain_of(good_tasks, order.domains), rate),
                **_own_thresholds(scores, good_tasks, rate),
            }
            for rate in order.rates
        },
    )


def _flat(features: Float[np.ndarray, "n t f"]) -> Float[np.ndarray, "m f"]:
    return features.reshape(-1, features.shape[2])


def _left_out_maps(
    features: Float[np.ndarray, "n t f"],
    labels: Float[np.ndarray, "n t"],
    folds: Int64[np.ndarray, " n"],
    choice: MapChoice,
) -> dict[int, FittedMap]:
    """Fit one map for every fold, on all others."""
    return {
        int(fold): fit_map(
            _flat(features[folds != fold]), labels[folds != fold].reshape(-1), choice
        )
        for fold in np.unique(folds)
    }


def _read_left_out(
    maps: Mapping[int, FittedMap],
    features: Float[np.ndarray, "n t f"],
    folds: Int64[np.ndarray, " n"],
) -> Float[np.ndarray, "n t"]:
    """Return the logit of every step by the map that did not see its episode."""
    logits = np.empty(features.shape[:2])
    for fold, fitted in maps.items():
        mine = features[folds == fold]
        logits[folds == fold] = fitted.logit(_flat(mine)).reshape(mine.shape[:2])
    return logits


def choose_map(dreams: WatchedDreams, order: FitOrder) -> MapChoice:
    """Choose channels, penalty and trees by the loss on tasks (of one task: episodes) left out.

    Args:
        dreams: Those that the map will be fitted on.
        order: What there is to choose from.
    """
    choices = [
        MapChoice(channels=channels, strength=strength, share=share)
        for channels in order.options or (order.channels,)
        for strength in order.strengths
        for share in order.shares
    ]
    if len(choices) == 1:
        return choices[0]
    names = np.array(dreams.task)
    if len(set(dreams.task)) < 2:  # noqa: PLR2004 - one task has no other to be left out
        names = (dreams.episode % NUM_FOLDS).astype(str)
    labels = steps_ahead(dreams)[:, ::CHOICE_STRIDE]
    groups = np.repeat(names, labels.shape[1])
    losses: list[float] = []
    for channels in dict.fromkeys(choice.channels for choice in choices):
        mine = [choice for choice in choices if choice.channels == channels]
        features = features_of(dreams, channels)[:, ::CHOICE_STRIDE]
        losses += left_out_losses(_flat(features), labels.reshape(-1), groups, mine)
    return choices[int(np.argmin(losses))]


def _fit_instant(
    dreams: WatchedDreams, folds: Int64[np.ndarray, " n"], rates: Sequence[float]
) -> InstantMap:
    """Fit the map of single steps in the same way; without u_f where it is never defined."""
    names = [name for name in READINGS if np.isfinite(dreams.signals[name]).all()]
    columns = [instant_feature(torch.from_numpy(dreams.signals[name])).numpy() for name in names]
    features, labels = np.stack(columns, axis=2), steps_ahead(dreams)
    maps = _left_out_maps(features, labels, folds, MapChoice(channels=tuple(names)))
    logits = _read_left_out(maps, features, folds)
    fitted = fit_weights(_flat(features), labels.reshape(-1))
    curve = fit_isotonic(logits.reshape(-1), labels.reshape(-1))
    scores, _ = good_scores(curve.apply(logits), dreams.has_diverged)
    limits = {rate_key(rate): conformal_quantile(scores, rate) for rate in rates}
    return InstantMap(
        readings=tuple(names),
        mean=tuple(fitted.mean.tolist()),
        std=tuple(fitted.std.tolist()),
        weights=tuple(fitted.weights.tolist()),
        bias=fitted.bias,
        knots=curve.readings,
        values=curve.values,
        thresholds={key: None if value == NEVER else value for key, value in limits.items()},
    )


def _own_thresholds(
    scores: Float[np.ndarray, " k"], tasks: Sequence[str], rate: float
) -> dict[str, GroupThreshold]:
    found = mondrian(scores, tasks, rate)
    return {task: item for task, item in found.items() if task != POOLED and not item.is_fallback}


def _folds(dreams: WatchedDreams) -> Int64[np.ndarray, " n"]:
    """Deal the episodes of every task to ``NUM_FOLDS`` folds."""
    names, folds = np.asarray(dreams.task), np.zeros(dreams.num_rows, dtype=np.int64)
    for task in dict.fromkeys(dreams.task):
        rows = np.flatnonzero(names == task)
        folds[rows] = deal_folds(
            dreams.episode[rows], NUM_FOLDS, numpy_rng(SPLIT_SEED, "split", task)
        )
    return folds


def _consistency(dreams: WatchedDreams) -> dict[str, float]:
    names, found = np.asarray(dreams.task), {}
    for task in dict.fromkeys(dreams.task):
        latents = torch.from_numpy(dreams.true[names == task])
        found[task] = float(real_consistency(latents, dreams.num_context).median())
    return found


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judged:
    """One probability, judged on dreams it was not fitted on."""

    name: str
    steps: ProbabilityScore
    by_task: Mapping[str, ProbabilityScore]
    step_auroc: float
    """Pooled, for divergence within the frames ahead."""
    gain: FiveNumbers
    """Spearman of the clip's mean probability with its rollout gain."""
    diverged: FiveNumbers
    """AUROC of the clip's mean probability for gain ≤ 0 dB."""
    detection: Mapping[str, DetectionScore]
    """Flags at 5 %, by task, and of all under ``*``."""
    settled: DetectionScore
    """The same on dreams that end wrong and calm."""
    clip_scores: Float[np.ndarray, " n"]


def judge(
    name: str,
    dreams: WatchedDreams,
    probability: Float[np.ndarray, "n t"],
    threshold: Float[np.ndarray, " n"],
) -> Judged:
    """Judge probabilities against the truth of the same dreams.

    Args:
        name: What the probability is called.
        dreams: Of other episodes than the fit's.
        probability: Per dream and step.
        threshold: Of each dream, at a false-alarm rate of 5 %.
    """
    labels, diverged = steps_ahead(dreams), dreams.has_diverged
    names, gains = np.asarray(dreams.task), dreams.gains
    clips = probability[:, :GAIN_STEPS].mean(axis=1)
    # Static clips are no evidence either way.
    shown = np.where(gains.is_static, np.nan, clips)
    calm = is_settled(dreams.signals["m"], diverged, dreams.task)
    return Judged(
        name=name,
        steps=score_probability(probability.reshape(-1), labels.reshape(-1)),
        by_task={
            task: score_probability(
                probability[names == task].reshape(-1), labels[names == task].reshape(-1)
            )
            for task in dict.fromkeys(dreams.task)
        },
        step_auroc=auroc(probability.reshape(-1), labels.reshape(-1)),
        gain=spearman_numbers(shown, gains.moving_gain, dreams.task),
        diverged=auroc_numbers(shown, gains.has_diverged, gains.moving_gain, dreams.task),
        detection=score_groups(dreams.task, probability, threshold, diverged),
        settled=score_detection("settled", probability[calm], threshold[calm], diverged[calm]),
        clip_scores=shown,
    )


def apply_calibration(
    calibration: Calibration, dreams: WatchedDreams, alpha: float = ALPHA
) -> tuple[Float[np.ndarray, "n t"], Float[np.ndarray, " n"]]:
    """Return the probability of every step and the threshold of every dream."""
    features = features_of(dreams, calibration.channels)
    values = {task: calibration.threshold(task, alpha).value for task in set(dreams.task)}
    limits = {task: np.inf if value is None else value for task, value in values.items()}
    threshold = np.array([limits[task] for task in dreams.task])
    return calibration.probability(features, dreams.task), threshold


def judge_candidates(
    fit: WatchedDreams,
    test: WatchedDreams,
    order: FitOrder,
    candidates: Mapping[str, tuple[str, ...]] = CANDIDATES,
    *,
    held_out: Mapping[str, str] | None = None,
) -> list[Judged]:
    """Fit and judge every candidate, and the task-identity baseline.

    Args:
        fit: Dreams to fit on.
        test: Dreams of other episodes.
        order: As for one fit; its channels are replaced, its options are the probability's.
        candidates: Name to channels.
        held_out: Task to family: each family is judged by a fit on all others. None fits once, on
            all tasks.
    """
    found: list[Judged] = []
    for name, channels in candidates.items():
        options = order.options if name == PROBABILITY else ()
        mine = replace(order, channels=channels, options=options)
        if held_out is None:
            pair = apply_calibration(fit_calibration(fit, mine), test)
        else:
            pair = _without_family(fit, test, mine, held_out)
        found.append(judge(name, test, *pair))
    if held_out is None:
        found.append(judge(IDENTITY, test, *_identity(fit, test)))
    return found


def _without_family(
    fit: WatchedDreams, test: WatchedDreams, order: FitOrder, family: Mapping[str, str]
) -> tuple[Float[np.ndarray, "n t"], Float[np.ndarray, " n"]]:
    probability = np.full(test.dream.shape, np.nan)
    threshold = np.full(test.num_rows, np.nan)
    for name in dict.fromkeys(family[task] for task in test.task):
        known = [row for row, task in enumerate(fit.task) if family[task] != name]
        asked = [row for row, task in enumerate(test.task) if family[task] == name]
        calibration = fit_calibration(fit.select(known), order)
        probability[asked], threshold[asked] = apply_calibration(calibration, test.select(asked))
    return probability, threshold


def _identity(
    fit: WatchedDreams, test: WatchedDreams
) -> tuple[Float[np.ndarray, "n t"], Float[np.ndarray, " n"]]:
    labels, names = steps_ahead(fit), np.asarray(fit.task)
    overall = float(np.nanmean(labels))
    rates = {task: float(np.nanmean(labels[names == task])) for task in set(fit.task)}
    of_row = np.array([rates.get(task, overall) for task in test.task])
    return np.repeat(of_row[:, None], test.horizon, axis=1), np.full(test.num_rows, np.inf)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Within-task AUROC of one score minus another's, on the same clips."""

    difference: float
    low: float
    high: float
    """95 % interval: tasks are drawn, then clips of each."""


def compare_within(
    first: Float[np.ndarray, " n"],
    second: Float[np.ndarray, " n"],
    dreams: WatchedDreams,
    *,
    num_draws: int = 500,
) -> Comparison:
    """Compare two clip scores by their within-task AUROC of divergence, paired."""
    gains, names = dreams.gains, np.asarray(dreams.task)
    rng = numpy_rng(0, "compare")
    members = [np.flatnonzero(names == task) for task in dict.fromkeys(dreams.task)]

    def difference(rows: np.ndarray, groups: Sequence[str]) -> float:
        outcome, label = gains.moving_gain[rows], gains.has_diverged[rows]
        pair = [auroc_numbers(x[rows], label, outcome, groups).within_mean for x in (first, second)]
        return pair[0] - pair[1]

    draws: list[float] = []
    for _ in range(num_draws):
        rows, groups = [], []
        for place, group in enumerate(rng.integers(0, len(members), len(members))):
            mine = members[group]
            rows.append(mine[rng.integers(0, len(mine), len(mine))])
            # A task drawn twice is two tasks.
            groups += [f"{place}"] * len(mine)
        draws.append(difference(np.concatenate(rows), groups))
    low, high = np.nanquantile(draws, (0.025, 0.975))
    everything = np.arange(dreams.num_rows)
    return Comparison(
        difference=difference(everything, dreams.task), low=float(low), high=float(high)
    )
