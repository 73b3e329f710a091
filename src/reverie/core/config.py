"""Configs to and from plain dictionaries, strictly: unknown and missing keys are errors."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from reverie.core.errors import ConfigError
from reverie.core.registry import unknown_name_message

ConfigType = TypeVar("ConfigType")

_ADDED = "added"


def added(default: Any) -> Any:
    """Declare a field that older files do not have; they mean ``default`` by its absence.

    Files written now leave it out too where it has that value, so that what they say, and every
    checksum of it, stays the same.
    """
    return dataclasses.field(default=default, metadata={_ADDED: True})


def to_dict(config: Any) -> dict[str, Any]:
    """Turn a dataclass into a JSON-compatible dictionary, nested configs included."""
    items = [(item, getattr(config, item.name)) for item in dataclasses.fields(config)]
    return {
        item.name: _plain(value)
        for item, value in items
        if not (_ADDED in item.metadata and value == item.default)
    }


def from_dict(kind: type[ConfigType], values: Any) -> ConfigType:
    """Build a config from a dictionary that names exactly its fields.

    Args:
        kind: The dataclass to build.
        values: What was read from a file; anything but a dictionary is refused.

    Raises:
        ConfigError: A key is unknown or missing, or a value has the wrong type.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{kind.__name__} needs a mapping of its fields, got {values!r}.")
    items = dataclasses.fields(kind)  # type: ignore[arg-type]
    names = tuple(item.name for item in items)
    for name in values:
        if name not in names:
            hint = f"{kind.__name__} has: {', '.join(names)}"
            raise ConfigError(unknown_name_message(f"{kind.__name__} field", name, names, hint))
    needed = [item.name for item in items if _ADDED not in item.metadata]
    missing = [name for name in needed if name not in values]
    if missing:
        raise ConfigError(
            f"{kind.__name__} is missing {', '.join(missing)}. It was probably written by another "
            f"version of Reverie; convert or retrain it."
        )
    hints = typing.get_type_hints(kind)
    return kind(**{name: _typed(hints[name], value, name) for name, value in values.items()})


def override(config: ConfigType, settings: Mapping[str, Any]) -> ConfigType:
    """Return a copy with fields changed by dotted path, such as ``{"optim.lr": 1e-3}``.

    All changes are made at once: fields that must agree with each other are named together, in
    any order. A path may also end inside a dictionary, such as ``"task_weights.pygame-pong"``: all
    that follows its name is the key, and a key that is not there yet is added.

    Raises:
        ConfigError: There is no such field, nothing can be set inside of it, or the value has the
            wrong type.
    """
    groups: dict[str, dict[str, Any]] = {}
    for path, value in settings.items():
        head, _, rest = path.partition(".")
        groups.setdefault(head, {})[rest] = value
    changed: dict[str, Any] = {}
    for head, values in groups.items():
        hint, current = _hint_of(config, head), getattr(config, head, None)
        if "" in values:
            current = _typed(hint, values.pop(""), head)
        changed[head] = _replaced_inside(current, hint, head, values) if values else current
    return dataclasses.replace(config, **changed)  # type: ignore[type-var]


def _hint_of(config: object, name: str) -> Any:
    names = tuple(item.name for item in dataclasses.fields(config))  # type: ignore[arg-type]
    if name not in names:
        hint = f"{type(config).__name__} has: {', '.join(names)}"
        raise ConfigError(unknown_name_message("config field", name, names, hint))
    return typing.get_type_hints(type(config))[name]


def _replaced_inside(current: Any, hint: Any, name: str, values: Mapping[str, Any]) -> Any:
    if dataclasses.is_dataclass(current):
        return override(current, values)
    kinds = (hint, *typing.get_args(hint))
    mapping = next((kind for kind in kinds if typing.get_origin(kind) is dict), None)
    if mapping is None or not isinstance(current, (dict, types.NoneType)):
        raise ConfigError(
            f"Nothing can be set inside of '{name}', which is {current!r}. Set the whole of it: "
            f"'{name}' instead of '{name}.{next(iter(values))}'."
        )
    key_kind, value_kind = typing.get_args(mapping)
    added_keys = {
        _typed(key_kind, key, f"the key of '{name}'"): _typed(value_kind, value, f"{name}.{key}")
        for key, value in values.items()
    }
    return {**(current or {}), **added_keys}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise ConfigError(f"A config may hold plain values only, got {value!r}.")


def _typed(hint: Any, value: Any, name: str) -> Any:
    if hint is Any:
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _typed_union(arguments, value, name)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise ConfigError(f"{name} must be one of {arguments}, got {value!r}.")
    if origin is tuple and isinstance(value, (list, tuple)):
        return _typed_tuple(hint, value, name)
    if origin is dict and isinstance(value, dict):
        return {key: _typed(arguments[1], item, name) for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        if isinstance(value, typing.cast("type", hint)):
            return value
        return from_dict(typing.cast("type", hint), value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return _to_float(value, name)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise ConfigError(f"{name} must be {hint}, got {value!r}.")


def _to_float(value: int, name: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ConfigError(f"{name} is too large for a float: it has over 300 digits.") from error


def _typed_tuple(hint: Any, values: list[Any] | tuple[Any, ...], name: str) -> tuple[Any, ...]:
    kinds = typing.get_args(hint)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_typed(kinds[0], item, name) for item in values)
    if len(kinds) != len(values):
        raise ConfigError(f"{name} must be {hint}, got {values!r}.")
    return tuple(_typed(kind, item, name) for kind, item in zip(kinds, values, strict=True))


def _typed_union(kinds: tuple[Any, ...], value: Any, name: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    problems: list[str] = []
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return _typed(kind, value, name)
        except ConfigError as error:
            problems.append(str(error))
    raise ConfigError(" Or: ".join(problems))
