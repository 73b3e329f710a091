"""Names to things: a lazy table with suggestions for misspelt names."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from reverie.core.errors import MissingExtraError, UnknownNameError

T = TypeVar("T")


class Registry:
    """A table from names to ``"module:attribute"`` targets that are imported only when used."""

    def __init__(self, kind: str, hint: str) -> None:
        """Make an empty table.

        Args:
            kind: What one entry is called in messages, such as ``"task"``.
            hint: Where a user finds all names, such as ``"'reverie tasks list' shows all"``.
        """
        self._kind = kind
        self._hint = hint
        self._targets: dict[str, str] = {}

    def add(self, name: str, target: str) -> None:
        """Enter ``name``; the target is ``"package.module:attribute"``. Taken names are refused."""
        if name in self._targets:
            raise ValueError(f"The {self._kind} name '{name}' is already registered.")
        self._targets[name] = target

    def load(self, name: str) -> Any:
        """Import and return what ``name`` stands for."""
        module_name, _, attribute = self.target(name).partition(":")
        return getattr(importlib.import_module(module_name), attribute)

    def target(self, name: str) -> str:
        """Return the target of ``name`` without importing it."""
        if name not in self._targets:
            raise UnknownNameError(unknown_name_message(self._kind, name, self.names(), self._hint))
        return self._targets[name]

    def names(self) -> tuple[str, ...]:
        """Return all names in the order in which they were added."""
        return tuple(self._targets)

    def __contains__(self, name: object) -> bool:
        """Tell whether ``name`` is registered."""
        return name in self._targets

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._targets)


def unknown_name_message(kind: str, name: str, names: tuple[str, ...], hint: str) -> str:
    """Say that a name is unknown, which one was probably meant, and where all are listed."""
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    meant = f" Did you mean '{close[0]}'?" if close else ""
    return f"Unknown {kind} '{name}'.{meant} {hint}."


def keep_named(
    kind: str, things: Mapping[str, T], names: Sequence[str], *, always: str, hint: str
) -> dict[str, T]:
    """Keep the named entries of a table, in its order; no name keeps all.

    Args:
        kind: What one entry is called in messages.
        things: The table.
        names: Which to keep.
        always: The entry that is kept in any case.
        hint: Where a user finds all names.

    Raises:
        UnknownNameError: There is no such entry.
    """
    for name in names:
        if name not in things:
            raise UnknownNameError(unknown_name_message(kind, name, tuple(things), hint))
    return {name: thing for name, thing in things.items() if not names or name in (always, *names)}


def require_extra(module_name: str, extra: str, purpose: str) -> Any:
    """Import an optional dependency, or say which extra brings it.

    Args:
        module_name: The module to import, such as ``"fastapi"``.
        extra: The extra of this package that installs it, such as ``"play"``.
        purpose: What it is needed for, as the end of "… is needed to …".
    """
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"The package '{module_name.partition('.')[0]}' is needed to {purpose} and is not "
            f"installed. Install it with: pip install 'reverie[{extra}]'"
        ) from error
