"""World models of any family from disk: the kind in ``model.json`` says who reads the rest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from reverie.core.errors import CheckpointError
from reverie.models.api import WorldModel
from reverie.models.classic.controller import ControllerConfig
from reverie.models.classic.disk import KIND as CLASSIC
from reverie.models.classic.disk import load_classic_world, load_controller, to_manifest
from reverie.models.load import load_world_model, read_manifest, read_manifest_values

Loader = Callable[[Path, dict[str, Any], torch.device | str], Any]


def _load_shortcut(folder: Path, values: dict[str, Any], device: torch.device | str) -> Any:
    return load_world_model(folder, device=device)


def _load_classic(folder: Path, values: dict[str, Any], device: torch.device | str) -> Any:
    return load_classic_world(folder, values, device=device)


LOADERS: dict[str, Loader] = {"shortcut": _load_shortcut, CLASSIC: _load_classic}


def load_any_world(folder: Path, *, device: torch.device | str = "cpu") -> WorldModel:
    """Read a model folder of any family.

    Raises:
        CheckpointError: The folder is missing, incomplete, damaged or of an unknown kind.
    """
    values = read_manifest_values(folder)
    kind = values.get("kind")
    if kind not in LOADERS:
        raise CheckpointError(
            f"'{folder}' is a model of kind {kind!r}; this Reverie knows {', '.join(LOADERS)}."
        )
    return LOADERS[kind](folder, values, device)


def tasks_of(folder: Path) -> tuple[str, ...]:
    """Return the tasks that a model of any family dreams, without its weights.

    Raises:
        CheckpointError: The folder is missing, damaged or of an unknown kind.
    """
    values = read_manifest_values(folder)
    if values.get("kind") == CLASSIC:
        return to_manifest(folder, values).dream.tasks
    return read_manifest(folder).dynamics.tasks


def find_controller(folder: Path) -> tuple[ControllerConfig, torch.Tensor] | None:
    """Read the controller of a model folder of any family; None where the model has none.

    Raises:
        CheckpointError: It is damaged.
    """
    values = read_manifest_values(folder)
    return None if values.get("controller") is None else load_controller(folder, values)


def load_controller_of(folder: Path) -> tuple[ControllerConfig, torch.Tensor]:
    """Read the controller that was trained in the dream of a model folder.

    Raises:
        CheckpointError: The model has none.
    """
    values = read_manifest_values(folder)
    if values.get("kind") != CLASSIC:
        raise CheckpointError(
            f"'{folder}' is a model of kind {values.get('kind')!r}; only 'classic' ones come with "
            f"a controller."
        )
    return load_controller(folder, values)
