"""How far dreamed branches are from the real ones, and whether they part as those do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from reverie.core.seeds import numpy_rng
from reverie.evaluate.branches import (
    KINDS,
    OWN,
    BranchConfig,
    Branches,
    DreamedBranches,
    decode_branches,
    dream_branches,
)
from reverie.evaluate.discrimination import auroc_numbers, spearman, spearman_numbers
from reverie.evaluate.evaluation import plain
from reverie.evaluate.metrics import ClipGains, frame_errors, onsets, psnr, step_gains
from reverie.evaluate.statistics import draw_pooled, draw_task_mean, interval_of
from reverie.hallucination.gauges import MOTION
from reverie.hallucination.normalise import MIN_STEP_MOTION
from reverie.models.api import WorldModel

VISIBLE = 0.1
"""Real branches differ visibly where a colour channel differs by more than this, in [0, 1]."""
PAIRS = tuple(combinations(range(len(KINDS)), 2))
"""Branches that are held against each other."""
OWN_PAIRS = tuple(index for index, pair in enumerate(PAIRS) if KINDS[pair[0]] == OWN)

Statistic = Callable[[Float[np.ndarray, "*d k"]], Float[np.ndarray, "*d"]]
Draws = Float[np.ndarray, " d"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BranchErrors:
    """Mean squared errors of dreamed branches; not-a-number after the end of a branch."""

    dream: Float[np.ndarray, "p k t"]
    still: Float[np.ndarray, "p k t"]
    """Of the moment itself repeated."""
    decoded_still: Float[np.ndarray, "p k t"]
    """Of the moment encoded, decoded and repeated."""
    ceiling: Float[np.ndarray, "p k t"]
    """Of the true frame encoded and decoded."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BranchPairs:
    """How pairs of branches differ; not-a-number where one of them has ended."""

    real: Float[np.ndarray, "p q t"]
    """Mean squared difference of the real branches."""
    dream: Float[np.ndarray, "p q t"]
    decoded: Float[np.ndarray, "p q t"]
    """Of the real branches encoded and decoded: what the tokenizer lets through."""
    product: Float[np.ndarray, "p q t"]
    """Mean product of the real and the dreamed difference."""
    visible: Float[np.ndarray, "p q t"]
    """Share of values that differ visibly in reality."""
    agreeing: Float[np.ndarray, "p q t"]
    """Share of values that do, and differ the same way in the dream."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BranchScores:
    """Everything measured on the branches of one task."""

    branches: Branches
    dreamed: DreamedBranches
    errors: BranchErrors
    pairs: BranchPairs

    @property
    def task(self) -> str:
        """The task's name."""
        return self.branches.task

    @property
    def has_diverged(self) -> Bool[np.ndarray, "p k t"]:
        """True at steps where the dream is no better than the decoded still, over four steps."""
        shape = self.errors.dream.shape
        flat = [
            np.nan_to_num(values, nan=1.0).reshape(-1, shape[-1])
            for values in (self.errors.dream, self.errors.decoded_still)
        ]
        diverged = (step_gains(flat[0], flat[1]) <= 0.0).reshape(shape)
        return diverged & np.isfinite(self.errors.dream)

    @property
    def explained(self) -> Float[np.ndarray, " p"]:
        """The share of what parts the real branches that the dream explains, for each moment."""
        return _explained(_pair_units(self))

    def select(self, rows: Sequence[int]) -> "BranchScores":
        """Keep the given moments, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        errors, pairs = (
            {name: values[index] for name, values in _arrays(group).items()}
            for group in (self.errors, self.pairs)
        )
        return BranchScores(
            branches=self.branches.select(rows),
            dreamed=self.dreamed.select(rows),
            errors=BranchErrors(**errors),
            pairs=BranchPairs(**pairs),
        )


def _arrays(group: BranchErrors | BranchPairs) -> dict[str, Float[np.ndarray, "p x t"]]:
    return {item.name: getattr(group, item.name) for item in fields(group)}


def score_branches(world: WorldModel, branches: Branches, config: BranchConfig) -> BranchScores:
    """Dream every branch and hold it against the real one, and against its sisters."""
    dreamed = dream_branches(world, branches, config)
    decoded, decoded_moment = decode_branches(world, branches, config)
    return compare_branches(branches, dreamed, decoded, decoded_moment)


def compare_branches(
    branches: Branches,
    dreamed: DreamedBranches,
    decoded: UInt8[np.ndarray, "p k t h w 3"],
    decoded_moment: UInt8[np.ndarray, "p h w 3"],
) -> BranchScores:
    """Hold dreamed branches against real ones.

    Args:
        branches: The truth.
        dreamed: What was dreamed.
        decoded: The truth, encoded and decoded.
        decoded_moment: The last shared frame, encoded and decoded.
    """
    real = branches.frames
    shown = {
        "dream": dreamed.frames,
        "still": np.broadcast_to(branches.moment[:, None, None], real.shape),
        "decoded_still": np.broadcast_to(decoded_moment[:, None, None], real.shape),
        "ceiling": decoded,
    }
    masked = {
        name: np.where(branches.is_alive, _errors(frames, real), np.nan)
        for name, frames in shown.items()
    }
    return BranchScores(
        branches=branches,
        dreamed=dreamed,
        errors=BranchErrors(**masked),
        pairs=_compare_pairs(branches, dreamed.frames, decoded),
    )


def _errors(
    shown: UInt8[np.ndarray, "p k t h w 3"], real: UInt8[np.ndarray, "p k t h w 3"]
) -> Float[np.ndarray, "p k t"]:
    # One moment at a time: floats of all frames at once would be large.
    return np.stack(
        [frame_errors(first, second) for first, second in zip(shown, real, strict=True)]
    )


def _compare_pairs(
    branches: Branches,
    dreamed: UInt8[np.ndarray, "p k t h w 3"],
    decoded: UInt8[np.ndarray, "p k t h w 3"],
) -> BranchPairs:
    found: dict[str, list[Float[np.ndarray, "q t"]]] = {}
    for place in range(branches.num_places):
        rows = [
            _compare_pair(branches.frames[place], dreamed[place], decoded[place], pair)
            for pair in PAIRS
        ]
        alive = branches.is_alive[place]
        both = np.stack([alive[first] & alive[second] for first, second in PAIRS])
        for name in rows[0]:
            values = np.stack([row[name] for row in rows])
            found.setdefault(name, []).append(np.where(both, values, np.nan))
    return BranchPairs(**{name: np.stack(values) for name, values in found.items()})


def _compare_pair(
    real: UInt8[np.ndarray, "k t h w 3"],
    dreamed: UInt8[np.ndarray, "k t h w 3"],
    decoded: UInt8[np.ndarray, "k t h w 3"],
    pair: tuple[int, int],
) -> dict[str, Float[np.ndarray, " t"]]:
    parted = [_difference(frames, pair) for frames in (real, dreamed, decoded)]
    is_visible = np.abs(parted[0]) > VISIBLE
    agrees = is_visible & (np.sign(parted[0]) == np.sign(parted[1]))
    return {
        "real": _mean(parted[0] * parted[0]),
        "dream": _mean(parted[1] * parted[1]),
        "decoded": _mean(parted[2] * parted[2]),
        "product": _mean(parted[0] * parted[1]),
        "visible": _mean(is_visible),
        "agreeing": _mean(agrees),
    }


def _difference(
    frames: UInt8[np.ndarray, "k t h w 3"], pair: tuple[int, int]
) -> Float32[np.ndarray, "t h w 3"]:
    first, second = (frames[index].astype(np.float32) for index in pair)
    return (first - second) / np.float32(255)


def _mean(values: np.ndarray) -> Float[np.ndarray, " t"]:
    return values.reshape(len(values), -1).mean(axis=1, dtype=np.float64)


_COLUMNS = ("real", "dream", "product", "visible", "agreeing", "real_rms", "dream_rms", "raw_rms")
"""Of a unit: sums over pairs and steps; the last three of root mean squares, real, dreamed and
decoded."""


def _pair_units(
    scores: BranchScores, pairs: Sequence[int] | None = None, step: int | None = None
) -> Float[np.ndarray, "p k"]:
    """Return the sums of each moment over pairs of branches (all) and steps (all)."""
    chosen = list(range(len(PAIRS))) if pairs is None else list(pairs)
    steps = slice(None) if step is None else slice(step, step + 1)
    cut = {name: values[:, chosen, steps] for name, values in _arrays(scores.pairs).items()}
    roots = [np.sqrt(cut[name]) for name in ("real", "dream", "decoded")]
    columns = [cut[name] for name in _COLUMNS[:5]] + roots
    return np.stack([np.nansum(column, axis=(1, 2)) for column in columns], axis=1)


def _ratio(sums: Float[np.ndarray, "*d k"]) -> Float[np.ndarray, "*d"]:
    return _divided(sums[..., 6], sums[..., 5])


def _tokenizer_ratio(sums: Float[np.ndarray, "*d k"]) -> Float[np.ndarray, "*d"]:
    return _divided(sums[..., 7], sums[..., 5])


def _explained(sums: Float[np.ndarray, "*d k"]) -> Float[np.ndarray, "*d"]:
    # 1 - |real - dream|^2 / |real|^2.
    return _divided(np.asarray(2.0 * sums[..., 2] - sums[..., 1]), sums[..., 0])


def _cosine(sums: Float[np.ndarray, "*d k"]) -> Float[np.ndarray, "*d"]:
    return _divided(sums[..., 2], np.asarray(np.sqrt(sums[..., 0] * sums[..., 1])))


def _agreement(sums: Float[np.ndarray, "*d k"]) -> Float[np.ndarray, "*d"]:
    return _divided(sums[..., 4], sums[..., 3])


def _divided(
    above: Float[np.ndarray, "*d"], below: Float[np.ndarray, "*d"]
) -> Float[np.ndarray, "*d"]:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


STATISTICS: Mapping[str, Statistic] = {
    "ratio": _ratio,
    "tokenizer_ratio": _tokenizer_ratio,
    "explained": _explained,
    "cosine": _cosine,
    "sign_agreement": _agreement,
}
"""``ratio``: distance (RMS) of dreamed branches over that of real ones; 1 is right, 0 ignores the
actions. ``tokenizer_ratio``: the same of the real ones encoded and decoded. ``explained``: 1 minus
|real difference − dreamed difference|² over |real difference|²; 1 is right, 0 ignores. ``cosine``:
of the two differences. ``sign_agreement``: of values that differ visibly in reality, the share that
differs the same way in the dream."""


def branch_numbers(tasks: Sequence[BranchScores]) -> dict[str, Any]:
    """Return the numbers of every task and their means, JSON-compatible.

    Intervals draw episodes and, for the mean, tasks. Numbers are undefined where reality does not
    part.
    """
    draws = {scores.task: _task_draws(scores) for scores in tasks}
    by_task = {scores.task: _task_numbers(scores, draws[scores.task]) for scores in tasks}
    means: dict[str, Any] = {}
    for name in (*STATISTICS, "gap_db"):
        values = [by_task[scores.task][name] for scores in tasks]
        finite = [value for value in values if np.isfinite(value)]
        drawn = draw_task_mean([draws[x.task][name] for x in tasks], rng=numpy_rng(0, "tasks"))
        means[name] = float(np.mean(finite)) if finite else float("nan")
        means[f"{name}_interval"] = interval_of(drawn)
        means[f"{name}_num_tasks"] = len(finite)
    return plain({"tasks": by_task, "mean": means, "readings": reading_numbers(tasks)})


def reading_numbers(tasks: Sequence[BranchScores]) -> dict[str, Any]:
    """Say how well each reading ranks branches by their true outcome: taken ones and others.

    The outcome of a branch is its rollout gain over the moment repeated; static ones are left out.
    Readings are means over the steps of a branch, raw and over the mean motion.
    """
    groups = {OWN: [0], "others": list(range(1, len(KINDS)))}
    found: dict[str, Any] = {}
    for group, kinds in groups.items():
        gains = [_branch_gains(scores, kinds) for scores in tasks]
        outcome = np.concatenate([item.moving_gain for item in gains])
        diverged = np.concatenate([item.has_diverged for item in gains])
        names = [scores.task for scores, item in zip(tasks, gains, strict=True) for _ in item.gain]
        readings = [_branch_readings(scores, kinds) for scores in tasks]
        found[group] = {
            name: {
                "gain": asdict(spearman_numbers(values, outcome, names)),
                "diverged": asdict(auroc_numbers(values, diverged, outcome, names)),
                "mean": _mean_of(values),
            }
            for name in readings[0]
            for values in [np.concatenate([part[name] for part in readings])]
        }
    return found


def _branch_gains(scores: BranchScores, kinds: Sequence[int]) -> ClipGains:
    means = {
        name: np.nanmean(values[:, list(kinds)], axis=2).reshape(-1, 1)
        for name, values in _arrays(scores.errors).items()
    }
    return ClipGains.of(
        dream=means["dream"], still=means["still"], decoded_still=means["decoded_still"]
    )


def _branch_readings(
    scores: BranchScores, kinds: Sequence[int]
) -> dict[str, Float[np.ndarray, " n"]]:
    alive = scores.branches.is_alive[:, list(kinds)]
    means = {
        name: np.where(alive, values[:, list(kinds)], 0.0).sum(axis=2) / alive.sum(axis=2)
        for name, values in scores.dreamed.readings.items()
    }
    flat = {name: values.reshape(-1) for name, values in means.items()}
    if MOTION not in flat:
        return flat
    ratios = {
        f"{name}/clip": values / np.maximum(flat[MOTION], MIN_STEP_MOTION)
        for name, values in flat.items()
        if name != MOTION
    }
    return flat | ratios


def _per_episode(
    units: Float[np.ndarray, "p k"], episodes: Sequence[int]
) -> Float[np.ndarray, "e k"]:
    names = np.asarray(episodes)
    return np.stack([units[names == name].sum(axis=0) for name in dict.fromkeys(episodes)])


def _task_draws(scores: BranchScores) -> dict[str, Draws]:
    episodes = scores.branches.episode
    units = _per_episode(_pair_units(scores), episodes)
    found = {
        name: draw_pooled(units, statistic, rng=numpy_rng(0, "branches", scores.task))
        for name, statistic in STATISTICS.items()
    }
    kinds = np.concatenate([_kind_units(scores, kind) for kind in KINDS], axis=1)
    found["gap_db"] = draw_pooled(
        _per_episode(kinds, episodes), _gap_db, rng=numpy_rng(0, "branches", scores.task)
    )
    return found


def _kind_units(scores: BranchScores, kind: str) -> Float[np.ndarray, "p k"]:
    """Return for each moment: sums of the errors of dream and ceiling over the steps."""
    index = KINDS.index(kind)
    columns = [scores.errors.dream[:, index], scores.errors.ceiling[:, index]]
    return np.stack([np.nansum(column, axis=1) for column in columns], axis=1)


def _gap_db(sums: Float[np.ndarray, "*d k"]) -> Float[np.ndarray, "*d"]:
    """Return how much further behind the tokenizer the dream is on branches nobody took."""
    behind = np.stack(
        [psnr(sums[..., 2 * index + 1]) - psnr(sums[..., 2 * index]) for index in range(len(KINDS))]
    )
    return np.asarray(behind[1:].mean(axis=0) - behind[0])


def _task_numbers(scores: BranchScores, draws: Mapping[str, Draws]) -> dict[str, Any]:
    units = _pair_units(scores).sum(axis=0)
    kinds = np.concatenate([_kind_units(scores, kind) for kind in KINDS], axis=1).sum(axis=0)
    numbers: dict[str, Any] = {
        name: float(statistic(units)) for name, statistic in STATISTICS.items()
    }
    numbers["gap_db"] = float(_gap_db(kinds))
    numbers |= {f"{name}_interval": interval_of(drawn) for name, drawn in draws.items()}
    steps = range(scores.branches.horizon)
    for name in ("ratio", "explained"):
        numbers[f"{name}_by_step"] = [
            float(STATISTICS[name](_pair_units(scores, step=step).sum(axis=0))) for step in steps
        ]
    apart = [_distances(values) for values in (scores.pairs.real, scores.pairs.dream)]
    return numbers | {
        "real_distance": _mean_of(apart[0]),
        "dream_distance": _mean_of(apart[1]),
        "spearman": spearman(apart[0].reshape(-1), apart[1].reshape(-1)),
        "kinds": {kind: _kind_numbers(scores, kind) for kind in KINDS},
        "num_places": scores.branches.num_places,
        "num_episodes": len(set(scores.branches.episode)),
        "num_ended_branches": int((~scores.branches.is_alive[:, :, -1]).sum()),
    }


def _distances(squared: Float[np.ndarray, "p q t"]) -> Float[np.ndarray, "p q"]:
    """Return the mean distance (RMS) of each pair over its steps; NaN where it has none."""
    is_there = np.isfinite(squared)
    total = np.sqrt(np.where(is_there, squared, 0.0)).sum(axis=2)
    return _divided(total, is_there.sum(axis=2).astype(np.float64))


def _kind_numbers(scores: BranchScores, kind: str) -> dict[str, Any]:
    index = KINDS.index(kind)
    errors = {name: values[:, index] for name, values in _arrays(scores.errors).items()}
    alive = np.isfinite(errors["dream"])
    diverged = scores.has_diverged[:, index]
    quality = {name: psnr(_mean_of(values)) for name, values in errors.items()}
    against_own = [PAIRS.index((0, index))] if index else []
    return {
        "psnr_db": quality["dream"],
        "gain_db": quality["dream"] - quality["still"],
        "gain_decoded_db": quality["dream"] - quality["decoded_still"],
        "behind_tokenizer_db": quality["ceiling"] - quality["dream"],
        "psnr_by_step_db": [
            psnr(_mean_of(errors["dream"][:, step])) for step in range(alive.shape[1])
        ],
        "ceiling_by_step_db": [
            psnr(_mean_of(errors["ceiling"][:, step])) for step in range(alive.shape[1])
        ],
        "diverged_share": float(diverged[alive].mean()),
        "median_onset": _median(onsets(diverged)),
        "ratio_to_own": float(_ratio(_pair_units(scores, against_own).sum(axis=0))),
    }


def _mean_of(values: Float[np.ndarray, "*any"]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _median(values: Float[np.ndarray, " p"]) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")
