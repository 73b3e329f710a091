"""Which data teach a model a new task? Adapted from several sources, from the same starts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from reverie.collect.curiosity import CURIOUS
from reverie.hallucination.coverage import visited_cells
from reverie.models.api import WorldModel
from reverie.models.load import load_world_model
from reverie.recipes.adapt import ALL, AdaptOrder, collected_episodes, cpu_order, run_adapt
from reverie.recipes.explore import frame_vectors
from reverie.recipes.planning import PLANNER, PlanningOrder, run_planning
from reverie.recipes.studies import (
    compared,
    number_of,
    require_plots,
    spread_by_task,
    write_compared,
)
from reverie.train.phase import Surroundings
from reverie.train.progress import Audience, Silence

BASELINE_SOURCE = "random"
CELLS, RETURN, SCORE = "visited_cells", "collected_return", "planned_score"
LEARNED = ("reconstruction_psnr_db", "rollout_gain_db", "action_shuffle_ratio")
"""What is measured of an adapted model."""
COUNTED_FRAMES = 1_000
"""Frames of a run, evenly spaced, whose cells are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetedStudy:
    """Sources of data for tasks that the model does not know, at equal numbers of episodes."""

    tasks: tuple[str, ...] = ("pygame-air-hockey", "pygame-spaceship", "pygame-whirlpool")
    policies: tuple[str, ...] = ("noop", BASELINE_SOURCE, "expert", CURIOUS, ALL)
    num_seeds: int = 5
    num_episodes: int = 12
    plan_episodes: int = 4
    """Real episodes that are played with each adapted model; 0 leaves planning out."""
    make_order: Callable[[str, int, str], AdaptOrder] = cpu_order
    planning: PlanningOrder | None = None
    """How these are planned; its tasks and episodes are replaced. None plans as the CLI does."""

    def folder(self, out: Path, task: str, policy: str, seed: int) -> Path:
        """Return where a run lies."""
        return out / task / policy / f"seed-{seed}"

    def order(self, task: str, policy: str, seed: int) -> AdaptOrder:
        """Return what a run does."""
        order = self.make_order(task, self.num_episodes, policy)
        return replace(order, explore=replace(order.explore, seed=seed))


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
    world = load_world_model(model)
    metrics = (*LEARNED, *((SCORE,) if study.plan_episodes else ()), CELLS, RETURN)
    shape = (len(study.tasks), study.num_seeds)
    found = {p: {m: np.full(shape, np.nan) for m in metrics} for p in study.policies}
    for row, task in enumerate(study.tasks):
        for policy in study.policies:
            for seed in range(study.num_seeds):
                audience.say(f"targeted: {task}, {policy}, seed {seed}")
                values = _adapt_once(model, study, task, policy, seed, out, num_workers)
                for metric, value in values.items():
                    found[policy][metric][row, seed] = number_of(value)
        for policy, seen in _seen(world, study, task, out).items():
            for metric, values in seen.items():
                found[policy][metric][row] = values
    baseline = {p: found[p] for p in (BASELINE_SOURCE,) if p in found}
    rows = {policy: compared(mine, baseline) for policy, mine in found.items()}
    facts = {"tasks": list(study.tasks), "seeds": study.num_seeds, "episodes": study.num_episodes}
    by_task = spread_by_task(found, study.tasks)
    numbers = {"study": "targeted", **facts, "rows": rows, "by_task": by_task}
    return write_compared(out, numbers, found, BASELINE_SOURCE)


def _adapt_once(
    model: Path,
    study: TargetedStudy,
    task: str,
    policy: str,
    seed: int,
    out: Path,
    num_workers: int,
) -> dict[str, Any]:
    order, folder = study.order(task, policy, seed), study.folder(out, task, policy, seed)
    around = Surroundings(folder=folder, seed=seed)
    measured = run_adapt(model, order, around, num_workers=num_workers)["rounds"][-1][task]
    values = {metric: measured[metric] for metric in LEARNED}
    if not study.plan_episodes:
        return values
    planning = study.planning or PlanningOrder(tasks=(task,))
    planning = replace(planning, tasks=(task,), num_episodes=study.plan_episodes)
    adapted = folder / f"round-{order.num_rounds - 1}" / "model"
    numbers = run_planning(adapted, planning, folder / "planning", num_workers=num_workers)
    return {**values, SCORE: numbers["tasks"][task][PLANNER]["mean"]}


def _seen(
    world: WorldModel, study: TargetedStudy, task: str, out: Path
) -> Mapping[str, Mapping[str, Sequence[float]]]:
    """Return, by source and seed, how much of a task was visited and how much reward was found.

    All runs share the axes of their cells, which are those of the model before it knew the task.
    """
    points: list[Float[np.ndarray, "_ w"]] = []
    returns: dict[str, list[float]] = {policy: [] for policy in study.policies}
    for policy in study.policies:
        for seed in range(study.num_seeds):
            folder = study.folder(out, task, policy, seed)
            episodes = collected_episodes(folder, study.order(task, policy, seed))
            vectors = np.concatenate(frame_vectors(world, episodes))
            num_kept = min(len(vectors), COUNTED_FRAMES)
            points.append(vectors[np.linspace(0, len(vectors) - 1, num_kept).astype(int)])
            returns[policy].append(float(np.mean([item.rewards.sum() for item in episodes])))
    cells = iter(visited_cells(points))
    return {
        policy: {CELLS: [float(len(next(cells))) for _ in found], RETURN: found}
        for policy, found in returns.items()
    }
