"""What was fitted for a model, read from its folder: limits, calibrations, what is usual."""

from pathlib import Path
from typing import Any, TypeVar

from reverie.core.config import from_dict, to_dict
from reverie.core.errors import CheckpointError, DataError
from reverie.core.files import read_sealed
from reverie.models.api import WorldModel

Fit = TypeVar("Fit")


def read_fit(kind: type[Fit], path: Path, *, missing: str, remedy: str, version: int = 0) -> Fit:
    """Read a fit from its file.

    Args:
        kind: The dataclass that was written.
        path: The file.
        missing: What a model without this file lacks, for the error.
        remedy: The command that makes the file anew.
        version: Version that the file must state; 0 for a kind of file that states none.

    Raises:
        DataError: There is no such file, or it cannot be read.
        CheckpointError: It is of another version.
    """
    if not path.exists():
        raise DataError(f"The model at '{path.parent}' has no {missing}. {remedy}")
    try:
        values = read_sealed(path)
    except ValueError as error:
        raise DataError(f"'{path}' cannot be read ({error}). {remedy}") from error
    found = values.get("format_version") if version and isinstance(values, dict) else version
    if found != version:
        raise CheckpointError(
            f"'{path}' has format version {found!r}; this Reverie reads version {version}. {remedy}"
        )
    try:
        return from_dict(kind, values)
    except (ValueError, TypeError) as error:
        raise DataError(f"'{path}' cannot be used: {error} {remedy}") from error


def commit_signal(world: WorldModel) -> float:
    """Return the signal at which frames enter a model's context.

    1, clean frames, in a family that adds no noise.
    """
    return float(getattr(world, "commit_signal", 1.0))


def check_setup(path: Path, found: Any, expected: Any, *, what: str, remedy: str) -> None:
    """Refuse what was fitted for another set-up: it does not carry over.

    Args:
        path: The file, for the error.
        found: Config that the fit was made under.
        expected: Config of the model as it runs now, of the same kind.
        what: What was fitted, in the plural, for the error.
        remedy: The command that makes the file anew.

    Raises:
        CheckpointError: Names the first field that differs.
    """
    wanted = to_dict(expected)
    for name, value in to_dict(found).items():
        if value != wanted[name]:
            raise CheckpointError(
                f"'{path}' was fitted for {name} {value}, and the model runs with "
                f"{wanted[name]}. {what} do not carry over. {remedy}"
            )
