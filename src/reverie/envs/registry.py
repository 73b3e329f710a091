"""Every task by name. Importing this module, or listing tasks, imports no simulator."""

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from types import MappingProxyType
from typing import Any

from reverie.core.errors import MissingExtraError, MissingSimulatorError, UnknownNameError
from reverie.core.registry import unknown_name_message
from reverie.core.types import DEFAULT_QUALITY, FrameSpec, RenderQuality
from reverie.envs.api import TaskEnv
from reverie.envs.spec import TaskSpec

DOMAINS = (
    "miniarcade",
    "dmcontrol",
    "dmcontrol_ext",
    "mujoco",
    "metaworld",
    "ogbench",
    "robodesk",
    "maniskill",
    "closeups",
    "box2d",
    "atari",
    "classics",
    "toy",
)
"""Packages in ``envs.domains``; each has a ``tasks`` module with a tuple ``TASKS``."""


@cache
def _specs() -> MappingProxyType[str, TaskSpec]:
    specs: dict[str, TaskSpec] = {}
    for domain in DOMAINS:
        table = importlib.import_module(f"reverie.envs.domains.{domain}.tasks")
        for spec in table.TASKS:
            if spec.name in specs:
                raise ValueError(
                    f"The task name '{spec.name}' is in the domains '{specs[spec.name].domain}' "
                    f"and '{spec.domain}'; names must be unique."
                )
            specs[spec.name] = spec
    return MappingProxyType(specs)


def task_names() -> tuple[str, ...]:
    """Return the names of all tasks, domain by domain."""
    return tuple(_specs())


def task_spec(name: str) -> TaskSpec:
    """Return what is known about a task; a misspelt name is answered with a suggestion."""
    specs = _specs()
    if name not in specs:
        hint = f"'reverie tasks list' shows all {len(specs)}"
        raise UnknownNameError(unknown_name_message("task", name, tuple(specs), hint))
    return specs[name]


def make_env(
    name: str,
    *,
    frame_spec: FrameSpec = FrameSpec(),  # noqa: B008 - frozen
    quality: RenderQuality = DEFAULT_QUALITY,
) -> TaskEnv:
    """Import the simulator of a task and start it.

    Args:
        name: A task name.
        frame_spec: Size of the frames; other sizes than the native one are area-resampled from it.
        quality: How carefully to draw; tasks without qualities have one look only.

    Raises:
        UnknownNameError: There is no such task.
        MissingExtraError: The simulator is an extra that is not installed.
    """
    return make_from_spec(task_spec(name), frame_spec, quality)


@contextmanager
def open_envs(
    name: str,
    count: int,
    *,
    frame_spec: FrameSpec = FrameSpec(),  # noqa: B008 - frozen
) -> Iterator[list[TaskEnv]]:
    """Start the same task several times, to be played side by side; close them all in the end."""
    with ExitStack() as stack:
        envs: list[TaskEnv] = []
        for _ in range(count):
            envs.append(make_env(name, frame_spec=frame_spec))
            stack.callback(envs[-1].close)
        yield envs


def make_from_spec(
    spec: TaskSpec, frame_spec: FrameSpec, quality: RenderQuality = DEFAULT_QUALITY
) -> TaskEnv:
    """Call the factory that a spec names."""
    choice = (quality,) if spec.has_qualities else ()
    return call_named(spec.factory, spec, frame_spec, *choice)


def call_named(target: str, spec: TaskSpec, *arguments: Any) -> Any:
    """Import ``"module:function"`` of a task and call it with its spec and what follows.

    Raises:
        MissingExtraError: It needs a package that an extra installs.
        MissingSimulatorError: The domain does not have what the spec names.
    """
    module_name, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)(spec, *arguments)
    except ModuleNotFoundError as error:
        if error.name == module_name:
            raise MissingSimulatorError(
                f"The task '{spec.name}' is in the table, but the domain '{spec.domain}' has no "
                f"'{module_name}' yet. 'reverie tasks list' shows what else there is."
            ) from error
        if spec.extra is None:
            raise
        raise MissingExtraError(
            f"The package '{(error.name or '').partition('.')[0]}' is needed to run the task "
            f"'{spec.name}' and is not installed. Install it with: pip install "
            f"'reverie[{spec.extra}]'"
        ) from error
