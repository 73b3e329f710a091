"""A whole evaluation: held-out episodes, measurements, limits of readings, report."""

import copy
import math
import multiprocessing
import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from reverie.collect.policies import make_policy
from reverie.core.errors import CheckpointError, ConfigError, DataError
from reverie.core.files import write_json
from reverie.core.types import Episode
from reverie.data.store import EpisodeStore
from reverie.evaluate.action_following import FollowingConfig
from reverie.evaluate.coverage_report import (
    coverage_correlations,
    flat_latents,
    map_evaluations,
)
from reverie.evaluate.evaluation import (
    EvaluationConfig,
    TaskEvaluation,
    all_numbers,
    clip_table,
    evaluate_task,
    plain,
)
from reverie.evaluate.live import (
    MOVING_BEHAVIOUR,
    LiveConfig,
    choose_tasks,
    collect_heldout,
    measure_control,
)
from reverie.evaluate.report import ClipPicture, write_report
from reverie.evaluate.table import write_clip_table
from reverie.hallucination.thresholds import Thresholds, load_thresholds, reading_setup
from reverie.models.api import WorldModel
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.families import load_any_world
from reverie.models.load import read_manifest_values
from reverie.recipes.benches import (
    BENCHES,
    BenchName,
    BenchOrder,
    BenchResult,
    Say,
    write_pictures,
)
from reverie.recipes.pictures import stack_rows, write_gif, write_strip

VISITED_EPISODES = 64
"""Episodes of a task that a coverage map looks at, at most."""
VISITED_FRAMES = 64
"""Frames of each."""
OnTask = Callable[[TaskEvaluation], None]
"""Called with each task as soon as it is measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationOrder:
    """What is evaluated, and how thoroughly."""

    tasks: tuple[str, ...] = ()
    """Empty means every task of the model."""
    live: LiveConfig = field(default_factory=LiveConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    behaviour: str = MOVING_BEHAVIOUR
    """Name of the policy that plays the held-out episodes."""
    has_single_substep: bool = True
    """Also measure action following with one substep a frame, as published."""


def quick_order(tasks: tuple[str, ...] = ()) -> EvaluationOrder:
    """Order what ``reverie demo`` measures: every number, in seconds a task, on few clips."""
    return EvaluationOrder(
        tasks=tasks,
        live=LiveConfig(num_episodes=4, max_steps=80, num_probes=8),
        evaluation=EvaluationConfig(
            clips_per_episode=2, following=FollowingConfig(stride=8, variants=())
        ),
        has_single_substep=False,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationRun:
    """One call of ``reverie evaluate``."""

    model: Path
    out: Path
    tasks: tuple[str, ...] = ()
    num_episodes: int = 8
    data: Path | None = None
    """A store of held-out episodes; None plays live ones."""
    behaviour: str = MOVING_BEHAVIOUR
    visited: Path | None = None
    """A store whose frames count as visited in the coverage maps, such as the training data; None
    takes the real frames of the clips themselves."""
    benches: tuple[BenchName, ...] = ()
    """Further benches in the same report."""
    fits_thresholds: bool = False
    num_workers: int = 2
    device: str = "cpu"
    """Where every process puts its copy of the model."""


def run_evaluation(
    run: EvaluationRun, *, on_task: OnTask | None = None, say: Say = lambda _: None
) -> dict[str, Any]:
    """Load a model, measure it, write the results; return the numbers."""
    world = load_any_world(run.model, device=run.device)
    order = EvaluationOrder(
        tasks=run.tasks,
        live=LiveConfig(num_episodes=run.num_episodes),
        behaviour=run.behaviour,
    )
    if run.data is None:
        tasks = evaluate_live_parallel(
            run.model, order, num_workers=run.num_workers, device=run.device, on_task=on_task
        )
        source = f"{run.num_episodes} per task, played by '{run.behaviour}' with held-out seeds"
    else:
        tasks = evaluate_store(world, EpisodeStore.open(run.data), order, on_task=on_task)
        source = f"up to {run.num_episodes} per task, from '{run.data}'"
    if run.fits_thresholds:
        fit_thresholds(run.model, world, tasks)
    facts = {"episodes": source, "flow substeps per frame": str(world.num_flow_steps)}
    provenance = read_manifest_values(run.model).get("provenance", {})
    if "tokenizer_loss" in provenance:
        facts["loss of the tokenizer"] = str(provenance["tokenizer_loss"])
    visited = None
    if run.visited is not None:
        facts["visited in the coverage maps"] = f"frames of '{run.visited}'"
        visited = visited_latents(world, EpisodeStore.open(run.visited), [x.task for x in tasks])
    bench_order = BenchOrder(model=run.model, out=run.out, tasks=run.tasks, behaviour=run.behaviour)
    return write_results(
        tasks,
        run.out,
        title=f"Evaluation of {run.model.resolve().name}",
        facts=facts,
        visited=visited,
        benches={name: BENCHES[name](world, bench_order, say) for name in run.benches},
    )


@torch.inference_mode()
def visited_latents(
    world: WorldModel, store: EpisodeStore, tasks: Sequence[str]
) -> dict[str, Float[np.ndarray, "n w"]]:
    """Encode frames of a store: of each task a few at even distances from many episodes.

    Tasks that the store lacks are left out.

    Raises:
        ConfigError: The store's frames have another size than the model's.
    """
    if store.spec.frame != world.tokenizer.frame_spec:
        raise ConfigError(
            f"The model reads frames of {world.tokenizer.frame_spec.shape}, the store at "
            f"'{store.path}' has {store.spec.frame.shape}. Name a store of that size."
        )
    found: dict[str, Float[np.ndarray, "n w"]] = {}
    for task in tasks:
        entries = [entry for entry in store.index if entry.task == task]
        chosen = np.linspace(0, len(entries) - 1, min(len(entries), VISITED_EPISODES))
        parts: list[Float[np.ndarray, "m w"]] = []
        for index in chosen.round().astype(int):
            frames = store.read_episode(entries[index].id).frames
            places = np.linspace(0, len(frames) - 1, min(len(frames), VISITED_FRAMES))
            given = torch.from_numpy(frames[places.round().astype(int)])[:, None]
            latents, _ = world.tokenizer.encode(given.to(world.device))
            parts.append(flat_latents(latents.float().cpu().numpy()))
        if parts:
            found[task] = np.concatenate(parts)
    return found


def evaluate_live(
    world: WorldModel, order: EvaluationOrder, *, on_task: OnTask | None = None
) -> list[TaskEvaluation]:
    """Play fresh episodes of every task in its simulator and measure the model on them.

    Raises:
        UnknownNameError: A task is unknown.
        ConfigError: The model was not trained on a task.
    """
    done: list[TaskEvaluation] = []
    for task in choose_tasks(world, order.tasks):
        done.append(_play_and_measure(world, task, order))
        if on_task is not None:
            on_task(done[-1])
    return done


def evaluate_live_parallel(
    folder: Path,
    order: EvaluationOrder,
    *,
    num_workers: int,
    device: str = "cpu",
    on_task: OnTask | None = None,
) -> list[TaskEvaluation]:
    """Do as ``evaluate_live`` with several tasks at a time, one thread each.

    A dream is too small to keep two threads busy: two processes are nearly twice as fast.

    Args:
        folder: Model folder; each process loads it.
        order: What to measure.
        num_workers: Processes; below 2, or with one task, everything happens in this one.
        device: Where every process puts its copy of the model.
        on_task: Called with each task, in order.
    """
    # Asked for its tasks alone where others measure, so it takes no room on their device.
    world = load_any_world(folder)
    tasks = choose_tasks(world, order.tasks)
    if min(num_workers, len(tasks)) < 2:
        if device != "cpu":
            world = load_any_world(folder, device=device)
        return evaluate_live(world, order, on_task=on_task)
    done: list[TaskEvaluation] = []
    jobs = [(str(folder), device, task, order) for task in tasks]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_workers, len(tasks)), mp_context=context) as pool:
        for packed in pool.map(_measure_packed, jobs):
            # Packed by the worker itself: torch would otherwise share memory with a process that
            # is about to end.
            done.append(pickle.loads(packed))
            if on_task is not None:
                on_task(done[-1])
    return done


def _measure_packed(job: tuple[str, str, str, EvaluationOrder]) -> bytes:
    folder, device, task, order = job
    torch.set_num_threads(1)
    return pickle.dumps(_play_and_measure(_loaded(folder, device), task, order))


@cache
def _loaded(folder: str, device: str) -> WorldModel:
    return load_any_world(Path(folder), device=device)


def _play_and_measure(world: WorldModel, task: str, order: EvaluationOrder) -> TaskEvaluation:
    frame_spec = world.tokenizer.frame_spec
    episodes = collect_heldout(
        task,
        frame_spec=frame_spec,
        make_policy=lambda _: make_policy(order.behaviour),
        config=order.live,
    )
    return evaluate_task(
        world,
        episodes,
        order.evaluation,
        single_step=_single_substep(world) if order.has_single_substep else None,
        control=measure_control(task, episodes, frame_spec=frame_spec, config=order.live),
    )


def evaluate_store(
    world: WorldModel,
    store: EpisodeStore,
    order: EvaluationOrder,
    *,
    on_task: OnTask | None = None,
) -> list[TaskEvaluation]:
    """Measure the model on stored held-out episodes, at most ``live.num_episodes`` a task.

    Raises:
        DataError: The store lacks a task.
    """
    done: list[TaskEvaluation] = []
    stored = {entry.task for entry in store.index}
    for task in choose_tasks(world, order.tasks):
        if task not in stored:
            raise DataError(
                f"The store at '{store.path}' has no episodes of '{task}'. Collect some, or name "
                f"other tasks with --tasks; it has: {', '.join(sorted(stored))}."
            )
        episodes = _longest(store, task, order.live.num_episodes)
        done.append(
            evaluate_task(
                world,
                episodes,
                order.evaluation,
                single_step=_single_substep(world) if order.has_single_substep else None,
            )
        )
        if on_task is not None:
            on_task(done[-1])
    return done


def fit_thresholds(folder: Path, world: WorldModel, tasks: Sequence[TaskEvaluation]) -> Thresholds:
    """Fit the page's limits to the dreams of an evaluation, and write them beside the model.

    Limits of other tasks stay, if they were fitted for the model as it runs now.
    """
    setup = reading_setup(folder, world)
    try:
        kept = load_thresholds(folder, setup).tasks
    except (CheckpointError, ConfigError, DataError):
        # None yet, or of other weights: what is written now takes their place.
        kept = {}
    fitted = {task.task: task.thresholds() for task in tasks}
    thresholds = Thresholds(setup=setup, tasks=kept | fitted)
    thresholds.save(folder)
    return thresholds


def write_results(
    tasks: Sequence[TaskEvaluation],
    out: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    visited: Mapping[str, Float[np.ndarray, "n w"]] | None = None,
    benches: Mapping[BenchName, BenchResult] | None = None,
) -> dict[str, Any]:
    """Write numbers, pictures and the report into a folder; return the numbers.

    Args:
        tasks: What was measured.
        out: Folder; ``evaluation.json``, ``clips.csv``, ``report.html`` and ``pictures/`` go
            there.
        title: Of the report.
        facts: Lines below the title, such as the model's folder.
        visited: Latents of the frames that count as visited, per task; see ``map_evaluations``.
        benches: What other benches found, by name; below in the same report.
    """
    maps = map_evaluations(tasks, visited)
    numbers = all_numbers(tasks)
    numbers["coverage_correlation"] = plain(coverage_correlations(maps))
    sections: list[str] = []
    for name, result in (benches or {}).items():
        numbers[name] = result.numbers
        sections += result.sections
        write_pictures(result, out / "pictures")
    write_json(out / "evaluation.json", numbers)
    write_clip_table(out / "clips.csv", clip_table(tasks))
    pictures = [picture for task in tasks for picture in draw_clips(task, out / "pictures")]
    write_report(
        out / "report.html",
        tasks,
        numbers,
        pictures,
        title=title,
        facts=facts,
        maps=maps,
        more=sections,
    )
    return numbers


def draw_clips(task: TaskEvaluation, folder: Path) -> list[ClipPicture]:
    """Draw the best and the worst dream of a task: a strip and an animation each."""
    order = np.argsort(np.nan_to_num(task.gains.moving_gain, nan=-math.inf), kind="stable")
    moving = [int(clip) for clip in order if not task.gains.is_static[clip]] or [int(order[-1])]
    context = task.clips.num_frames - task.rollout.frames.shape[1]
    pictures = []
    for rank, clip in {"best": moving[-1], "worst": moving[0]}.items():
        pairs = stack_rows(task.clips.pictures()[clip, context:], task.rollout.frames[clip])
        path = folder / f"{task.task}-{rank}"
        write_strip(path.with_suffix(".png"), pairs)
        write_gif(path.with_suffix(".gif"), pairs)
        pictures.append(
            ClipPicture(
                task=task.task,
                rank=rank,
                gain_db=float(task.gains.gain[clip]),
                strip=path.with_suffix(".png").read_bytes(),
                animation=path.with_suffix(".gif").read_bytes(),
            )
        )
    return pictures


def _single_substep(world: WorldModel) -> ShortcutWorld | None:
    if not isinstance(world, ShortcutWorld):
        return None
    # A shallow copy: the weights are shared, only the number of substeps differs.
    once = copy.copy(world)
    once.num_flow_steps = 1
    return once


def _longest(store: EpisodeStore, task: str, count: int) -> list[Episode]:
    entries = [entry for entry in store.index if entry.task == task]
    longest = sorted(entries, key=lambda entry: -entry.num_frames)[:count]
    return [store.read_episode(entry.id) for entry in longest]
