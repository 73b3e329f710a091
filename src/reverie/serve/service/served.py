"""From a model folder to what the service serves: frozen, INT8 where that can be had."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from reverie.core.errors import CheckpointError, ConfigError
from reverie.envs.registry import task_names, task_spec
from reverie.hallucination.acceptance import FILE_NAME, load_acceptance
from reverie.hallucination.foresight import ForesightConfig
from reverie.models.classic.quantise import quantise_int8
from reverie.models.classic.world import ClassicWorld
from reverie.models.families import find_controller, load_any_world
from reverie.models.load import read_manifest_values
from reverie.serve.service.inference import ServedModel

AskedPrecision = Literal["auto", "int8", "float32"]

QUICK_FORESIGHT = ForesightConfig(num_samples=16, horizon=10)
"""For dreams of the classic family: a step of 16 rows costs a millisecond."""
SLOW_FORESIGHT = ForesightConfig(num_samples=4, horizon=4)
"""For transformers, whose step costs a hundred times more."""


def load_served_model(
    folder: Path,
    *,
    precision: AskedPrecision = "auto",
    with_fit: bool = True,
) -> ServedModel:
    """Load a model with its controller and what is usual for it, where there are such.

    Args:
        folder: A model folder of any family.
        precision: ``auto`` takes INT8 where the family has it.
        with_fit: Whether to read what is usual in real play; off in order to fit it anew.

    Raises:
        CheckpointError: The folder holds no model, or a fit of another one.
        DataError: The fit is damaged.
        ConfigError: INT8 was asked for and the family has none.
    """
    values = read_manifest_values(folder)
    world, layers = load_any_world(folder), ()
    is_classic = isinstance(world, ClassicWorld)
    if precision == "int8" and not isinstance(world, ClassicWorld):
        raise ConfigError(
            f"INT8 is there for the classic family; '{folder}' is of kind "
            f"{values.get('kind')!r}. Serve it with --precision float32."
        )
    if isinstance(world, ClassicWorld) and precision != "float32":
        world, report = quantise_int8(world)
        layers = report.kept
    known = set(task_names())
    widths = {
        task: task_spec(task).action.width if task in known else world.action_width
        for task in world.tasks
    }
    model = ServedModel(
        name=folder.resolve().name,
        family=str(values.get("kind")),
        world=world,
        widths=widths,
        controller=find_controller(folder),
        foresight=QUICK_FORESIGHT if is_classic else SLOW_FORESIGHT,
        precision="float32" if precision == "float32" or not is_classic else "int8",
        float_layers=layers,
    )
    return _with_acceptance(model, folder) if with_fit else model


def _with_acceptance(model: ServedModel, folder: Path) -> ServedModel:
    if not (folder / FILE_NAME).exists():
        # Optional: verify then says "unjudged" and how to fit one. A damaged file is an error.
        return model
    found = load_acceptance(folder)
    if found.precision != model.precision:
        raise CheckpointError(
            f"What is usual was fitted in {found.precision}, and the model is served in "
            f"{model.precision}. Serve it with --precision {found.precision}, or fit it again: "
            f"reverie serve fit MODEL STORE"
        )
    return replace(model, acceptance=found, foresight=found.foresight)
