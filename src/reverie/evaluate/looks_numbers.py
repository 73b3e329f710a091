"""Numbers of the perceptual bench: how much each look costs, and whether u_r says so."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from reverie.core.seeds import numpy_rng
from reverie.evaluate.discrimination import auroc, auroc_numbers, spearman_numbers
from reverie.evaluate.evaluation import plain
from reverie.evaluate.looks import SEEN, UNSEEN, LookFrames
from reverie.evaluate.metrics import psnr
from reverie.evaluate.statistics import draw_pooled, draw_task_mean, interval_of

FAILED_SHARE = 0.05
"""A frame has failed if it comes back worse than this share of its task's frames as they were seen;
tasks that were never seen are held to the worst of those limits. Ours: no threshold is published.
"""
READINGS: Mapping[str, Callable[[LookFrames], Float[np.ndarray, "b t"]]] = {
    "u_r": lambda part: part.residual,
    "latent size": lambda part: part.size,
}
"""What is asked to rank frames by their error: the published reading, and a baseline."""

Draws = Float[np.ndarray, " d"]
Key = tuple[str, str]
"""Task and look of a part."""


def looks_numbers(parts: Sequence[LookFrames]) -> dict[str, Any]:
    """Return the numbers of all looks, JSON-compatible.

    PSNR is that of the pooled error of a task, then the mean over tasks; intervals draw tasks and,
    in each, episodes. The change of a look is paired with the same frames as they were seen.

    Args:
        parts: One entry for every task and look; the model's own tasks as they are must be there.
    """
    looks = list(dict.fromkeys(part.look for part in parts))
    drawn = {_key(part): _task_draws(part) for part in parts}
    draws = {
        look: _mean_draws([drawn[_key(part)] for part in parts if part.look == look], look)
        for look in looks
    }
    failed = _failures(parts)
    return plain(
        {
            "looks": {look: _look_numbers(parts, look, draws, failed) for look in looks},
            "tasks": {
                task: {
                    part.look: _task_numbers(part, drawn[_key(part)])
                    for part in parts
                    if part.task == task
                }
                for task in dict.fromkeys(part.task for part in parts)
            },
            "ranking": {
                name: {group: _ranking(chosen, failed, read) for group, chosen in groups.items()}
                for name, read in READINGS.items()
                for groups in [_groups(parts)]
            },
        }
    )


def frame_psnr(part: LookFrames) -> Float[np.ndarray, " n"]:
    """Return the PSNR of every frame in dB."""
    return psnr(part.errors).reshape(-1)


def _groups(parts: Sequence[LookFrames]) -> dict[str, list[LookFrames]]:
    own = [part for part in parts if part.look != UNSEEN]
    found = {
        "seen": [part for part in parts if part.look == SEEN],
        "unseen tasks": [part for part in parts if part.look == UNSEEN],
        "seen and unseen tasks": [part for part in parts if part.look in (SEEN, UNSEEN)],
        "seen and changed looks": own,
    }
    return {name: chosen for name, chosen in found.items() if chosen}


def _key(part: LookFrames) -> Key:
    return part.task, part.look


def _failures(parts: Sequence[LookFrames]) -> dict[Key, Bool[np.ndarray, " n"]]:
    """Tell which frames of each part failed."""
    limits = {
        part.task: float(np.quantile(frame_psnr(part), FAILED_SHARE))
        for part in parts
        if part.look == SEEN
    }
    lowest = min(limits.values())
    return {_key(part): frame_psnr(part) < limits.get(part.task, lowest) for part in parts}


def _units(part: LookFrames) -> Float[np.ndarray, "e k"]:
    """Return for each episode: sum of errors, sum of u_r, number of frames."""
    rows: dict[int, Float[np.ndarray, " k"]] = {}
    for seed, errors, residual in zip(part.episode, part.errors, part.residual, strict=True):
        sums = np.array([errors.sum(), residual.sum(), errors.size], dtype=np.float64)
        rows[seed] = rows.get(seed, np.zeros(3)) + sums
    return np.stack(list(rows.values()))


def _psnr_of(sums: Float[np.ndarray, "*d k"]) -> Float[np.ndarray, "*d"]:
    return psnr(sums[..., 0] / sums[..., 2])


def _residual_of(sums: Float[np.ndarray, "*d k"]) -> Float[np.ndarray, "*d"]:
    return np.asarray(sums[..., 1] / sums[..., 2])


def _task_draws(part: LookFrames) -> tuple[Draws, Draws]:
    # One stream a task, whatever the look: the same episodes are drawn for each, as a pair.
    drawn = [
        draw_pooled(_units(part), statistic, rng=numpy_rng(0, "looks", part.task))
        for statistic in (_psnr_of, _residual_of)
    ]
    return drawn[0], drawn[1]


def _mean_draws(by_task: Sequence[tuple[Draws, Draws]], look: str) -> tuple[Draws, Draws]:
    kind = UNSEEN if look == UNSEEN else SEEN
    means = [
        draw_task_mean([pair[column] for pair in by_task], rng=numpy_rng(0, "tasks", kind))
        for column in range(2)
    ]
    return means[0], means[1]


def _look_numbers(
    parts: Sequence[LookFrames],
    look: str,
    draws: Mapping[str, tuple[Draws, Draws]],
    failed: Mapping[Key, Bool[np.ndarray, " n"]],
) -> dict[str, Any]:
    chosen = [part for part in parts if part.look == look]
    seen = [part for part in parts if part.look == SEEN]
    quality, before = (_mean_of(group, _psnr_of) for group in (chosen, seen))
    return {
        "psnr_db": quality,
        "psnr_interval_db": interval_of(draws[look][0]),
        "change_db": quality - before,
        "change_interval_db": interval_of(draws[look][0] - draws[SEEN][0]),
        "u_r": _mean_of(chosen, _residual_of),
        "u_r_interval": interval_of(draws[look][1]),
        "failed_share": np.mean([failed[_key(part)].mean() for part in chosen]),
        "auroc_from_seen": _told_apart(chosen, seen),
        "num_tasks": len(chosen),
        "num_episodes": sum(len(set(part.episode)) for part in chosen),
        "num_frames": sum(part.errors.size for part in chosen),
    }


def _mean_of(
    parts: Sequence[LookFrames],
    statistic: Callable[[Float[np.ndarray, "*d k"]], Float[np.ndarray, "*d"]],
) -> float:
    return float(np.mean([statistic(_units(part).sum(axis=0)) for part in parts]))


def _told_apart(chosen: Sequence[LookFrames], seen: Sequence[LookFrames]) -> dict[str, float]:
    """Say how well each reading tells frames of a look from those as they were seen.

    Within each task, and the mean of tasks, where both are frames of one task; else pooled.
    """
    found: dict[str, float] = {}
    for name, read in READINGS.items():
        before = {part.task: read(part).reshape(-1) for part in seen}
        if all(part.task in before for part in chosen):
            pairs = [(read(part).reshape(-1), before[part.task]) for part in chosen]
        else:
            after = np.concatenate([read(part).reshape(-1) for part in chosen])
            pairs = [(after, np.concatenate(list(before.values())))]
        found[name] = float(np.mean([_above(after, base) for after, base in pairs]))
    return found


def _above(after: Float[np.ndarray, " n"], before: Float[np.ndarray, " m"]) -> float:
    labels = np.concatenate([np.ones(len(after)), np.zeros(len(before))])
    return auroc(np.concatenate([after, before]), labels)


def _task_numbers(part: LookFrames, draws: tuple[Draws, Draws]) -> dict[str, Any]:
    units = _units(part)
    return {
        "psnr_db": _psnr_of(units.sum(axis=0)),
        "psnr_interval_db": interval_of(draws[0]),
        "u_r": _residual_of(units.sum(axis=0)),
        "u_r_interval": interval_of(draws[1]),
        "num_clips": len(part.errors),
        "num_episodes": len(units),
    }


def _ranking(
    parts: Sequence[LookFrames],
    failed: Mapping[Key, Bool[np.ndarray, " n"]],
    read: Callable[[LookFrames], Float[np.ndarray, "b t"]],
) -> dict[str, Any]:
    """Judge a reading by the true error of every frame: rank correlation and failed frames."""
    readings = np.concatenate([read(part).reshape(-1) for part in parts])
    quality = np.concatenate([frame_psnr(part) for part in parts])
    labels = np.concatenate([failed[_key(part)] for part in parts])
    tasks = [part.task for part in parts for _ in range(part.errors.size)]
    return {
        "psnr": asdict(spearman_numbers(readings, quality, tasks)),
        "failed": asdict(auroc_numbers(readings, labels, quality, tasks)),
    }
