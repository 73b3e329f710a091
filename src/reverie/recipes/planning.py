"""Closed-loop planning on live simulators: seeded episodes, scores, what was dreamed; resumable.

Every episode is one small file. Running the same order again plays only what is missing, so that
it can be killed at any time.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reverie.collect.planner import Decision, PlannerPolicy
from reverie.collect.policies import make_policy
from reverie.collect.watch import Watched
from reverie.core.config import from_dict, to_dict
from reverie.core.errors import ConfigError
from reverie.core.files import write_json
from reverie.core.registry import unknown_name_message
from reverie.core.seeds import child_seed
from reverie.core.types import Episode
from reverie.envs.api import Policy, StepResult
from reverie.envs.episode import play_episode
from reverie.envs.registry import make_env, task_spec
from reverie.evaluate.live import HELD_OUT_SEED
from reverie.evaluate.statistics import bootstrap_mean, interquartile_mean
from reverie.models.api import WorldModel
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.load import load_world_model, model_digest
from reverie.parallel.pool import make_pool
from reverie.parallel.precision import Precision, autocast
from reverie.planning.optimisers import SearchConfig
from reverie.planning.plan import PlanConfig, imagine
from reverie.recipes.caution import Caution, make_objective
from reverie.recipes.pictures import stack_rows, write_gif, write_strip

PLANNER, BASELINE = "planner", "random"
ORDER_FILE = "order.json"
RESULT_FILE = "planning.json"

QUICK_PLAN = PlanConfig(
    horizon=12,
    num_executed=4,
    hold=2,
    optimiser="icem",
    search=SearchConfig(num_candidates=24, num_elites=6, num_iterations=2),
    num_dreams=1,
    num_finalists=3,
)
"""What a CPU core decides within a second with the pocket model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanningOrder:
    """What is played. The same order always means the same episodes."""

    tasks: tuple[str, ...]
    num_episodes: int = 10
    """Per task, and as many of the random policy from the same starts."""
    max_steps: int | None = None
    """Stop earlier than the task does; scores are then smaller than the benchmark's."""
    seed: int = 0
    plan: PlanConfig = QUICK_PLAN
    discount: float = 1.0
    num_flow_steps: int | None = None
    """Flow substeps of a planned frame; None takes the model's own."""
    precision: Precision = "float32"
    caution: Caution = Caution()
    """How the model's doubts enter; by default they do not."""

    def __post_init__(self) -> None:
        """Refuse orders of nothing, and unknown tasks."""
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise ConfigError(f"Name each task once and at least one, got {self.tasks}.")
        for task in self.tasks:
            task_spec(task)
        if self.num_episodes < 1 or (self.max_steps is not None and self.max_steps < 1):
            raise ConfigError(
                f"num_episodes and max_steps must be at least 1, got {self.num_episodes} and "
                f"{self.max_steps}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedEpisode:
    """What became of one episode; one JSON file."""

    task: str
    policy: str
    index: int
    seed: int
    score: float
    total_reward: float
    num_steps: int
    success_last: bool
    success_any: bool
    counts: dict[str, float] = field(default_factory=dict)
    """Decisions, abstentions, dreamed steps, seconds."""


OnEpisode = Callable[[PlannedEpisode, int, int], None]
"""Told of each episode, how many are done and how many there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    folder: str
    device: str
    out: str
    order: PlanningOrder
    task: str
    policy: str
    index: int

    @property
    def path(self) -> Path:
        return Path(self.out) / "episodes" / self.task / self.policy / f"{self.index:04d}.json"

    @property
    def seed(self) -> int:
        # Both policies meet the same starts.
        return child_seed(HELD_OUT_SEED, "plan", self.order.seed, self.task, self.index)


def run_planning(
    folder: Path,
    order: PlanningOrder,
    out: Path,
    *,
    num_workers: int = 2,
    device: str = "cpu",
    on_episode: OnEpisode | None = None,
) -> dict[str, Any]:
    """Play every episode of the order that ``out`` lacks, and return what all of them say.

    Args:
        folder: Model folder.
        order: What to play.
        out: Results; ``planning.json`` is the summary, ``pictures`` has real and planned futures.
        num_workers: Processes, one thread each; below 2, everything happens in this one.
        device: Where every process puts its copy of the model.
        on_episode: Told how far it is.

    Raises:
        ConfigError: The model does not know a task, or ``out`` belongs to another order.
    """
    _check_tasks(load_world_model(folder), order)
    _claim(out, order, folder)
    jobs = _list_jobs(order, out, folder=folder, device=device)
    todo = [job for job in jobs if not job.path.exists()]
    done = len(jobs) - len(todo)
    for episode in _play_all(todo, num_workers):
        done += 1
        if on_episode is not None:
            on_episode(episode, done, len(jobs))
    numbers = summarise([_read(job.path) for job in jobs], seed=order.seed)
    write_json(out / RESULT_FILE, numbers)
    return numbers


def read_episodes(out: Path, order: PlanningOrder) -> list[PlannedEpisode]:
    """Read what a finished order left, task by task, start by start."""
    return [_read(job.path) for job in _list_jobs(order, out)]


def _list_jobs(
    order: PlanningOrder, out: Path, *, folder: Path = Path(), device: str = "cpu"
) -> list[_Job]:
    return [
        _Job(
            folder=str(folder),
            device=device,
            out=str(out),
            order=order,
            task=task,
            policy=name,
            index=index,
        )
        for task in order.tasks
        for index in range(order.num_episodes)
        for name in (BASELINE, PLANNER)
    ]


def _play_all(jobs: Sequence[_Job], num_workers: int) -> Iterator[PlannedEpisode]:
    if min(num_workers, len(jobs)) < 2:  # noqa: PLR2004 - one process needs no pool
        yield from map(_play, jobs)
        return
    with make_pool(min(num_workers, len(jobs))) as pool:
        try:
            for finished in as_completed([pool.submit(_play, job) for job in jobs]):
                yield finished.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@cache
def loaded_world(folder: str, device: str) -> ShortcutWorld:
    """Load a model once in a process that plays many episodes with it."""
    return load_world_model(Path(folder), device=device)


def _play(job: _Job) -> PlannedEpisode:
    world = loaded_world(job.folder, job.device)
    recorder = _Recorder(world, job.seed) if job.index == 0 and job.policy == PLANNER else None
    env = Watched(make_env(job.task, frame_spec=world.tokenizer.frame_spec), world.max_context)
    successes: list[bool] = []

    def note(step: int, result: StepResult) -> None:
        successes.append(bool(result.info["success"]))

    try:
        with flow_steps(world, job.order.num_flow_steps), torch.inference_mode():
            with autocast(world.device, job.order.precision):
                policy = _make(job, world, recorder)
                episode = play_episode(
                    env, policy, seed=job.seed, max_steps=job.order.max_steps, on_step=note
                )
    finally:
        env.close()
    if recorder is not None:
        recorder.write(episode, Path(job.out) / "pictures" / job.task)
    result = PlannedEpisode(
        task=job.task,
        policy=job.policy,
        index=job.index,
        seed=job.seed,
        score=float(episode.score),
        total_reward=float(episode.rewards.sum()),
        num_steps=episode.num_steps,
        success_last=successes[-1],
        success_any=any(successes),
        counts={name: float(value) for name, value in episode.parameters.items()},
    )
    write_json(job.path, asdict(result))
    return result


def _make(job: _Job, world: ShortcutWorld, recorder: "_Recorder | None") -> Policy:
    if job.policy == BASELINE:
        return make_policy(BASELINE)
    return PlannerPolicy(
        world,
        objective=make_objective(
            Path(job.folder), world, job.task, job.order.caution, job.order.discount
        ),
        config=job.order.plan,
        on_decision=None if recorder is None else recorder.note,
    )


@contextmanager
def flow_steps(world: WorldModel, num_flow_steps: int | None) -> Iterator[None]:
    """Let a world dream with another number of flow substeps for a while.

    Raises:
        ConfigError: The model has no such number, or cannot take this one.
    """
    if num_flow_steps is None or num_flow_steps == world.num_flow_steps:
        yield
        return
    if not isinstance(world, ShortcutWorld):
        raise ConfigError(
            f"This kind of model dreams with {world.num_flow_steps} flow substeps and no other "
            f"number; got {num_flow_steps}."
        )
    world.flow.check_num_steps(num_flow_steps)
    before = world.num_flow_steps
    world.num_flow_steps = num_flow_steps
    try:
        yield
    finally:
        world.num_flow_steps = before


class _Recorder:
    """Paints what each plan expected, frame by frame, to be put below what happened."""

    def __init__(self, world: WorldModel, seed: int) -> None:
        self._world = world
        self._rng = torch.Generator(world.device)
        self._rng.manual_seed(child_seed(seed, "imagine"))
        self._expected: list[np.ndarray] = []

    def note(self, decision: Decision) -> None:
        executed = decision.plan.actions[: decision.num_executed]
        frames = imagine(self._world, decision.state, executed, self._rng)
        self._expected.extend(frames.cpu().numpy())

    def write(self, episode: Episode, stem: Path) -> None:
        # An episode may end in the middle of a plan.
        pairs = stack_rows(episode.frames[1:], np.stack(self._expected)[: episode.num_steps])
        write_gif(stem.with_suffix(".gif"), pairs)
        write_strip(stem.with_suffix(".png"), pairs)


def summarise(episodes: Sequence[PlannedEpisode], *, seed: int) -> dict[str, Any]:
    """Return scores and returns of both policies per task and their differences, paired by start.

    A score may see the last step alone, such as whether a goal is reached then; the return, the sum
    of all rewards, sees every step. Intervals are 95 % percentile bootstrap over episodes.
    """
    tasks: dict[str, Any] = {}
    for task in dict.fromkeys(episode.task for episode in episodes):
        played = {
            name: [e for e in episodes if (e.task, e.policy) == (task, name)]
            for name in (PLANNER, BASELINE)
        }
        rng = np.random.default_rng(child_seed(seed, "bootstrap", task))
        scores = {name: np.array([e.score for e in found]) for name, found in played.items()}
        returns = {
            name: np.array([e.total_reward for e in found]) for name, found in played.items()
        }
        planned = played[PLANNER]
        tasks[task] = {
            "num_episodes": len(planned),
            **_compare(scores, rng),
            "returns": _compare(returns, rng),
            "success_last": float(np.mean([e.success_last for e in planned])),
            "success_any": float(np.mean([e.success_any for e in planned])),
            "counts": {
                name: float(np.mean([e.counts.get(name, 0.0) for e in planned]))
                for name in planned[0].counts
            },
        }
    return {
        "tasks": tasks,
        "num_tasks": len(tasks),
        "num_beats_random": sum(found["beats_random"] for found in tasks.values()),
        "num_beats_random_by_return": sum(
            found["returns"]["beats_random"] for found in tasks.values()
        ),
    }


def _compare(values: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, Any]:
    """Describe both policies, and how much more the planner gets from the same start."""
    difference = values[PLANNER] - values[BASELINE]
    low, high = bootstrap_mean(difference, rng=rng)
    return {
        **{name: _spread(values[name], rng) for name in (PLANNER, BASELINE)},
        "difference": {"mean": float(difference.mean()), "low": low, "high": high},
        "beats_random": bool(low > 0),
    }


def _spread(scores: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    low, high = bootstrap_mean(scores, rng=rng)
    iqm = interquartile_mean(scores)
    return {"mean": float(scores.mean()), "low": low, "high": high, "iqm": iqm}


def _read(path: Path) -> PlannedEpisode:
    return from_dict(PlannedEpisode, json.loads(path.read_text()))


def _check_tasks(world: WorldModel, order: PlanningOrder) -> None:
    for task in order.tasks:
        if task not in world.tasks:
            hint = f"This model knows: {', '.join(world.tasks)}"
            raise ConfigError(unknown_name_message("task of the model", task, world.tasks, hint))


def _claim(out: Path, order: PlanningOrder, folder: Path) -> None:
    """Write down whose results these are, or refuse those of another order or model."""
    wanted: Mapping[str, Any] = json.loads(
        json.dumps({"model": model_digest(folder), **to_dict(order)})
    )
    path = out / ORDER_FILE
    if not path.exists():
        write_json(path, dict(wanted))
        return
    found = json.loads(path.read_text())
    # Tasks and episodes may be added later.
    for name in wanted.keys() - {"tasks", "num_episodes"}:
        if found.get(name) != wanted[name]:
            raise ConfigError(
                f"'{out}' holds episodes played with {name} {found.get(name)}, now it is "
                f"{wanted[name]}. Give --out another folder."
            )
