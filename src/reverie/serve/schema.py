"""The JSON schema of the messages, made from the dataclasses of ``protocol``.

``python -m reverie.serve.schema`` rewrites ``static/schema.js``, which the page imports; a test
fails when the file and the dataclasses disagree.
"""

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any

from reverie.core.files import write_bytes
from reverie.serve.protocol import CLIENT_KINDS, SERVER_KINDS, type_name

STATIC = Path(__file__).parent / "static"

_PLAIN: dict[Any, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    types.NoneType: {"type": "null"},
}


def message_schema() -> dict[str, Any]:
    """Return one JSON schema per message, by direction and type name."""
    return {
        "client": {type_name(kind): object_schema(kind) for kind in CLIENT_KINDS},
        "server": {type_name(kind): object_schema(kind) for kind in SERVER_KINDS},
    }


def object_schema(kind: type[Any]) -> dict[str, Any]:
    """Return the JSON schema of one dataclass; fields with a default may be left out."""
    hints = typing.get_type_hints(kind)
    items = dataclasses.fields(kind)
    return {
        "type": "object",
        "properties": {item.name: _value_schema(hints[item.name]) for item in items},
        "required": [item.name for item in items if item.default is dataclasses.MISSING],
        "additionalProperties": False,
    }


def schema_module() -> str:
    """Return the text of ``static/schema.js``."""
    content = json.dumps(message_schema(), indent=1)
    return (
        "// Made from the dataclasses of serve/protocol.py by: python -m reverie.serve.schema\n"
        f"export const SCHEMA = {content};\n"
    )


def write_schema_module() -> Path:
    """Write ``static/schema.js`` anew and return its path."""
    path = STATIC / "schema.js"
    write_bytes(path, schema_module().encode())
    return path


def _value_schema(hint: Any) -> dict[str, Any]:
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_value_schema(kind) for kind in arguments]}
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return {"type": "array", "items": _value_schema(arguments[0])}
    if dataclasses.is_dataclass(hint):
        return object_schema(typing.cast("type[Any]", hint))
    raise TypeError(f"A message field of type {hint!r} has no JSON schema; use plain types.")


if __name__ == "__main__":
    write_schema_module()
