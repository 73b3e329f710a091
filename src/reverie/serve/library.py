"""From model folders to what the page offers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from reverie.core.batch import Batch
from reverie.core.errors import ConfigError, DataError
from reverie.core.registry import unknown_name_message
from reverie.core.types import Episode
from reverie.data.windows import episode_to_batch
from reverie.envs.experts import has_expert, make_expert
from reverie.envs.registry import make_env, task_names, task_spec
from reverie.envs.spec import TaskSpec
from reverie.hallucination import normalise
from reverie.hallucination.calibrate import FILE_NAME as CALIBRATION_FILE
from reverie.hallucination.calibrate import calibration_setup, load_calibration
from reverie.hallucination.gauges import PAGE_GAUGES, ReadingSet
from reverie.hallucination.novelty import load_bank
from reverie.hallucination.thresholds import (
    TaskThresholds,
    Thresholds,
    load_thresholds,
    reading_setup,
)
from reverie.hallucination.verifier import SIGNAL, load_verifier
from reverie.models.api import StepContext, WorldModel
from reverie.models.classic.world import ClassicWorld
from reverie.models.families import find_controller, load_any_world
from reverie.models.load import model_digest
from reverie.planning.live import Agent
from reverie.serve.show import Library, Measured, Show


def load_library(
    folders: Sequence[Path],
    *,
    first_task: str | None = None,
    watches: bool = True,
    device: str = "cpu",
) -> Library:
    """Load models from disk; each goes by the name of its folder.

    Args:
        folders: Model folders.
        first_task: A task that the first model must know, or None.
        watches: Whether the calibrated probability is shown where a model has one.
        device: Where the models go.

    Raises:
        CheckpointError: A folder holds no model, or limits that were fitted for another one.
        ConfigError: Two folders have one name, or no task of a model can be simulated.
        UnknownNameError: The first model does not know ``first_task``.
    """
    library: dict[str, Show] = {}
    for folder in folders:
        name = folder.resolve().name
        if name in library:
            raise ConfigError(f"Two models are called '{name}'. Rename one of the folders.")
        library[name] = load_show(folder, watches=watches, device=device)
    if not library:
        raise ConfigError("There is no model to serve. Give at least one model folder.")
    if first_task is not None:
        next(iter(library.values())).spec(first_task)
    return library


def load_show(folder: Path, *, watches: bool = True, device: str = "cpu") -> Show:
    """Load one model with its limits and, if wanted, its calibration."""
    world = load_any_world(folder, device=device)
    name = folder.resolve().name
    agent = _agent(folder, world)
    try:
        limits = load_thresholds(folder, reading_setup(folder, world))
    except DataError as error:
        return replace(make_show(name, world, notice=str(error)), make_agent=agent)
    show = replace(make_show(name, world, thresholds=limits), make_agent=agent)
    if not watches or not (folder / CALIBRATION_FILE).exists():
        # Optional: the page then shows readings and their limits alone.
        return show
    checkpoint = model_digest(folder)
    calibration = load_calibration(folder, calibration_setup(checkpoint, world))
    verifier = None
    if SIGNAL in calibration.channels:
        verifier = load_verifier(folder, checkpoint=checkpoint).to(world.device)
    return replace(show, calibration=calibration, bank=load_bank(folder), verifier=verifier)


def _agent(folder: Path, world: WorldModel) -> Callable[[TaskSpec], Agent] | None:
    if not isinstance(world, ClassicWorld):
        return None
    found = find_controller(folder)
    if found is None:
        return None
    controller, parameters = found
    return partial(Agent, world, controller, parameters.to(world.device))


def make_show(
    name: str,
    world: WorldModel,
    *,
    thresholds: Thresholds | None = None,
    notice: str | None = None,
) -> Show:
    """Join a world model with the simulators of its tasks.

    The readings of a task without limits are divided by the motion of their own step, and have no
    colour.
    """
    known = set(task_names())
    specs = {task: task_spec(task) for task in world.tasks if task in known}
    if not specs:
        hint = f"The model '{name}' knows only: {', '.join(world.tasks)}"
        raise ConfigError(unknown_name_message("task", world.tasks[0], task_names(), hint))
    limits = {} if thresholds is None else thresholds.tasks
    return Show(
        name=name,
        world=world,
        frame_spec=world.tokenizer.frame_spec,
        specs=specs,
        expert_tasks=frozenset(task for task in specs if has_expert(task)),
        limits={task: found.limits for task, found in limits.items()},
        read=partial(take_readings, *_page_sets(thresholds)),
        read_signals=partial(signal_readings, {} if thresholds is None else thresholds.motion),
        make_env=partial(make_env, frame_spec=world.tokenizer.frame_spec),
        make_expert=make_expert,
        make_context=partial(_make_context, world.action_width),
        notice=notice,
        doubts=_doubts(limits),
    )


def take_readings(
    fitted: ReadingSet, plain: ReadingSet, world: WorldModel, step: StepContext
) -> Measured:
    """Read the page's predictors, raw and normalised, for the one row of a session.

    Args:
        fitted: What tasks with limits are read with: the normaliser that the limits judge.
        plain: What other tasks are read with, whose motion is not known.
        world: The model.
        step: The dreamed step.
    """
    readings = fitted if step.before.task[0] in fitted.motion else plain
    values = {name: float(value[0]) for name, value in readings.take(world, step).items()}
    divided = {name.partition("/")[0]: value for name, value in values.items() if "/" in name}
    return Measured(raw={name: values[name] for name in PAGE_GAUGES}, normalised=divided)


def signal_readings(
    motion: Mapping[str, float], task: str, signals: Mapping[str, float]
) -> Measured:
    """Normalise raw readings that were taken already, as ``take_readings`` would.

    Args:
        motion: Mean motion of real data of the tasks with limits.
        task: The task being played.
        signals: Raw readings and motion by name.
    """
    moved = torch.tensor([signals["m"]])
    divided: dict[str, float] = {}
    for name in PAGE_GAUGES:
        raw = torch.tensor([signals[name]])
        if task in motion:
            value = normalise.floored(raw, moved, torch.full_like(moved, motion[task]))
        else:
            value = normalise.per_step(raw, moved)
        divided[name] = float(value[0])
    return Measured(raw={name: signals[name] for name in PAGE_GAUGES}, normalised=divided)


def _page_sets(thresholds: Thresholds | None) -> tuple[ReadingSet, ReadingSet]:
    plain = ReadingSet(names=_page_names("step"))
    if thresholds is None or not thresholds.tasks:
        return plain, plain
    return ReadingSet(names=_page_names("floored"), motion=thresholds.motion), plain


def _page_names(normaliser: str) -> tuple[str, ...]:
    return (*PAGE_GAUGES, *(f"{name}/{normaliser}" for name in PAGE_GAUGES))


def _doubts(limits: Mapping[str, TaskThresholds]) -> dict[str, str]:
    return {
        task: (
            f"The limits of '{task}' come from dreams that had nearly all gone wrong: green means "
            f"usual for this model here, not right."
        )
        for task, found in limits.items()
        if found.uses_diverged
    }


def _make_context(action_width: int, episode: Episode, start: int) -> Batch:
    return episode_to_batch(episode, start, action_width=action_width)
