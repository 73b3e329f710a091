"""Two studies that anyone can run again: does caution help, and does curiosity?

Both are many runs of other recipes in one folder, each resumable by itself, and a table at the
end. Differences are paired: caution by start, collection by task and seed.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from reverie.collect.curiosity import CURIOUS
from reverie.core.errors import ConfigError
from reverie.core.files import write_bytes, write_json
from reverie.core.registry import keep_named, require_extra
from reverie.core.seeds import numpy_rng
from reverie.evaluate.plots import draw_rows
from reverie.evaluate.statistics import interquartile_mean, stratified_bootstrap
from reverie.recipes.adapt import AdaptOrder, cpu_order, run_adapt
from reverie.recipes.caution import Caution
from reverie.recipes.planning import PLANNER, PlanningOrder, read_episodes, run_planning
from reverie.train.phase import Surroundings
from reverie.train.progress import Audience, Silence

PLAIN = "plain"
BASELINE_SOURCE = "random"
VARIANTS: Mapping[str, Caution] = {
    PLAIN: Caution(),
    "price 0.3": Caution(kind="price", beta=0.3),
    "price 1": Caution(kind="price", beta=1.0),
    "price 3": Caution(kind="price", beta=3.0),
    "price 1, shuffled": Caution(kind="price", beta=1.0, is_shuffled=True),
    "survival": Caution(kind="survival"),
    "stop": Caution(kind="stop"),
}
"""Kinds of caution that are compared on the same starts."""


def choose_variants(names: tuple[str, ...]) -> dict[str, Caution]:
    """Keep plain planning and the named variants; no name keeps all.

    Raises:
        UnknownNameError: There is no such variant.
    """
    hint = f"The variants are: {'; '.join(VARIANTS)}"
    return keep_named("variant", VARIANTS, names, always=PLAIN, hint=hint)


RESULT_FILE, TABLE_FILE, PICTURE = "study.json", "study.md", "study.png"

Shown = Mapping[str, Mapping[str, tuple[Sequence[float], Mapping[str, float]]]]
"""What the picture of a study shows, by panel and row: every run, and their spread."""
Found = Mapping[str, Float[np.ndarray, "tasks seeds"]]
"""Metric to what was measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CautiousStudy:
    """Planning with and without caution, on the same starts."""

    planning: PlanningOrder
    variants: Mapping[str, Caution] = field(default_factory=lambda: dict(VARIANTS))

    def __post_init__(self) -> None:
        """Refuse studies that have nothing to compare with."""
        if PLAIN not in self.variants:
            raise ConfigError(f"A study of caution needs the variant '{PLAIN}' to compare with.")


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetedStudy:
    """Sources of data for tasks that the model does not know, at equal numbers of episodes."""

    tasks: tuple[str, ...] = ("pygame-air-hockey", "pygame-spaceship", "pygame-whirlpool")
    policies: tuple[str, ...] = ("noop", BASELINE_SOURCE, "expert", CURIOUS)
    num_seeds: int = 5
    num_episodes: int = 12
    plan_episodes: int = 4
    """Real episodes that are played with each adapted model; 0 leaves planning out."""
    make_order: Callable[[str, int, str], AdaptOrder] = cpu_order
    planning: PlanningOrder | None = None
    """How these are planned; its tasks and episodes are replaced. None plans as the CLI does."""


def study_cautious(
    model: Path,
    study: CautiousStudy,
    out: Path,
    *,
    num_workers: int = 2,
    audience: Audience = Silence(),  # noqa: B008 - it keeps nothing
) -> dict[str, Any]:
    """Play every variant from the same starts, and compare each with plain planning."""
    require_plots()
    scores: dict[str, Float[np.ndarray, "tasks episodes"]] = {}
    returns: dict[str, Float[np.ndarray, "tasks episodes"]] = {}
    abstentions: dict[str, float] = {}
    for name, caution in study.variants.items():
        audience.say(f"cautious: {name}")
        order = replace(study.planning, caution=caution)
        folder = out / name.replace(" ", "-").replace(",", "")
        run_planning(model, order, folder, num_workers=num_workers)
        episodes = [item for item in read_episodes(folder, order) if item.policy == PLANNER]
        shape = (len(order.tasks), order.num_episodes)
        scores[name] = np.array([item.score for item in episodes]).reshape(shape)
        returns[name] = np.array([item.total_reward for item in episodes]).reshape(shape)
        decisions = sum(item.counts["decisions"] for item in episodes)
        abstentions[name] = sum(item.counts["abstentions"] for item in episodes) / decisions
    rows = {
        name: {
            "score": spread(values, name, average),
            "score_minus_plain": spread(values - scores[PLAIN], f"{name} minus plain", average),
            "return": spread(returns[name], f"{name} return", average),
            "return_minus_plain": spread(
                returns[name] - returns[PLAIN], f"{name} return minus plain", average
            ),
            "abstention_share": abstentions[name],
        }
        for name, values in scores.items()
    }
    facts = {"tasks": list(study.planning.tasks), "episodes": study.planning.num_episodes}
    differences = {"score_minus_plain": scores, "return_minus_plain": returns}
    shown: Shown = {
        difference: {
            name: ((values[name] - values[PLAIN]).ravel().tolist(), row[difference])
            for name, row in rows.items()
        }
        for difference, values in differences.items()
    }
    return write_study(out, {"study": "cautious", **facts, "rows": rows}, shown)


def study_targeted(
    model: Path,
    study: TargetedStudy,
    out: Path,
    *,
    num_workers: int = 2,
    audience: Audience = Silence(),  # noqa: B008 - it keeps nothing
) -> dict[str, Any]:
    """Adapt a model to every task from every source and seed, and compare what it becomes."""
    require_plots()
    metrics = ["reconstruction_psnr_db", "rollout_gain_db", "action_shuffle_ratio"]
    if study.plan_episodes:
        metrics.append("planned_score")
    shape = (len(study.tasks), study.num_seeds)
    found = {p: {m: np.full(shape, np.nan) for m in metrics} for p in study.policies}
    for row, task in enumerate(study.tasks):
        for policy in study.policies:
            for seed in range(study.num_seeds):
                audience.say(f"targeted: {task}, {policy}, seed {seed}")
                folder = out / task / policy / f"seed-{seed}"
                values = _adapt_once(model, study, task, policy, seed, folder, num_workers)
                for metric in metrics:
                    found[policy][metric][row, seed] = number_of(values[metric])
    # Alone it has nothing to be compared with.
    baseline = found.get(BASELINE_SOURCE) if len(found) > 1 else None
    rows = {policy: compared(mine, baseline, BASELINE_SOURCE) for policy, mine in found.items()}
    facts = {"tasks": list(study.tasks), "seeds": study.num_seeds, "episodes": study.num_episodes}
    shown: dict[str, dict[str, tuple[Sequence[float], Mapping[str, float]]]] = {}
    for metric in metrics:
        column = metric if baseline is None else f"{metric}_minus_{BASELINE_SOURCE}"
        origin = 0.0 if baseline is None else baseline[metric]
        shown[column] = {
            policy: ((mine[metric] - origin).ravel().tolist(), rows[policy][column])
            for policy, mine in found.items()
            if column in rows[policy]
        }
    numbers = {"study": "targeted", **facts, "rows": rows}
    return write_study(out, numbers, shown, line=None if baseline is None else 0.0)


def _adapt_once(
    model: Path,
    study: TargetedStudy,
    task: str,
    policy: str,
    seed: int,
    folder: Path,
    num_workers: int,
) -> Mapping[str, Any]:
    order = study.make_order(task, study.num_episodes, policy)
    order = replace(order, explore=replace(order.explore, seed=seed))
    around = Surroundings(folder=folder, seed=seed)
    measured = run_adapt(model, order, around, num_workers=num_workers)["rounds"][-1][task]
    if not study.plan_episodes:
        return measured
    planning = study.planning or PlanningOrder(tasks=(task,))
    planning = replace(planning, tasks=(task,), num_episodes=study.plan_episodes)
    adapted = folder / f"round-{order.num_rounds - 1}" / "model"
    numbers = run_planning(adapted, planning, folder / "planning", num_workers=num_workers)
    return {**measured, "planned_score": numbers["tasks"][task][PLANNER]["mean"]}


def spread(
    values: Float[np.ndarray, "tasks runs"],
    name: str,
    statistic: Callable[[Float[np.ndarray, "tasks runs"]], float] = interquartile_mean,
) -> dict[str, float]:
    """Return the middle of all tasks and runs, by some statistic, with a stratified interval.

    Runs that could not be measured are left out with their whole column, and counted.
    """
    kept = values[:, np.isfinite(values).all(axis=0)]
    facts = {"num_runs": float(kept.size), "num_left_out": float(values.size - kept.size)}
    if not kept.size:
        return {**facts, **dict.fromkeys(("mean", "iqm", "middle", "low", "high"), np.nan)}
    rng = numpy_rng(0, "study", name)
    low, high = stratified_bootstrap(kept, statistic, rng=rng)
    means = {"mean": float(kept.mean()), "iqm": interquartile_mean(kept)}
    return {**facts, **means, "middle": statistic(kept), "low": low, "high": high}


def average(values: Float[np.ndarray, "tasks runs"]) -> float:
    """Return the mean of all: scores of 0 and 1 have no interquartile mean worth the name."""
    return float(values.mean())


def compared(mine: Found, baseline: Found | None, name: str) -> dict[str, Any]:
    """Return the spread of every metric, and of its difference to another way, paired by seed.

    Args:
        mine: Metric to values.
        baseline: The same of the other way; None, or the way itself, is not compared with.
        name: Of the other way.
    """
    row: dict[str, Any] = {metric: spread(values, metric) for metric, values in mine.items()}
    if baseline is not None and baseline is not mine:
        for metric, values in mine.items():
            row[f"{metric}_minus_{name}"] = spread(values - baseline[metric], metric)
    return row


def number_of(value: Any) -> float:
    """Return a measured number, not-a-number where a summary says something else."""
    return float(value) if isinstance(value, (int, float)) else np.nan


def require_plots() -> None:
    """Fail before anything is run, not after, where the picture could not be drawn."""
    require_extra("matplotlib.figure", "eval", "draw the study")


def write_study(
    out: Path, numbers: dict[str, Any], shown: Shown, *, line: float | None = None
) -> dict[str, Any]:
    """Write numbers, table and picture of a study; return the numbers as they read back."""
    write_json(out / RESULT_FILE, numbers)
    write_bytes(out / TABLE_FILE, table(numbers).encode())
    write_bytes(out / PICTURE, draw_rows(shown, line=line))
    return json.loads((out / RESULT_FILE).read_text())


def table(numbers: Mapping[str, Any]) -> str:
    """Write a study's rows as a Markdown table: middles with 95 % intervals."""
    names = list(dict.fromkeys(name for row in numbers["rows"].values() for name in row))
    lines = [f"| {numbers['study']} | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    for name, row in numbers["rows"].items():
        cells = " | ".join(_cell(row.get(column)) for column in names)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{value['middle']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
    return "–" if value is None else f"{value:.3f}"
