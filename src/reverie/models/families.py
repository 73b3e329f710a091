"""World models of any family from disk: the kind in ``model.json`` says who reads the rest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from reverie.core.errors import CheckpointError
from reverie.models.api import WorldModel
from reverie.models.classic.controller import ControllerConfig
from reverie.models.classic.disk import load_classic_world, load_controller
from reverie.models.load import load_world_model, read_manifest_values

Loader = Callable[[Path, dict[str, Any], torch.device | str], Any]


def _load_shortcut(folder: Path, values: dict[str, Any], device: torch.device | str) -> Any:
    return load_world_model(folder, device=device)


def _load_classic(folder: Path, values: dict[str, Any], device: torch.device | str) -> Any:
    return load_classic_world(folder, values, device=device)


LOADERS: dict[str, Loader] = {"shortcut": _load_shortcut, "classic": _load_classic}


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


def load_controller_of(folder: Path) -> tuple[ControllerConfig, torch.Tensor]:
    """Read the controller that was trained in the dream of a model folder.

    Raises:
        CheckpointError: The model has none.
    """
    values = read_manifest_values(folder)
    if values.get("kind") != "classic":
        raise CheckpointError(
            f"'{folder}' is a model of kind {values.get('kind')!r}; only 'classic' ones come with "
            f"a controller."
        )
    return load_controller(folder, values)
