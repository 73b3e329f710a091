"""The run-time checker of annotations."""

from collections.abc import Callable
from typing import Any, Self, get_args

from beartype import beartype
from typing_extensions import is_protocol


def check_annotations(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that its arguments and its result are checked against its annotations.

    Left unchecked is what mentions ``Self`` (beartype understands it only when it sees the whole
    class; here it sees single methods) or a protocol that has no run-time check.
    """
    annotations = getattr(function, "__annotations__", {})
    if any(_is_uncheckable(hint) for hint in annotations.values()):
        function.__annotations__ = {
            name: Any if _is_uncheckable(hint) else hint for name, hint in annotations.items()
        }
    return beartype(function)


def _is_uncheckable(hint: object) -> bool:
    if isinstance(hint, type) and is_protocol(hint):
        return not getattr(hint, "_is_runtime_protocol", False)
    return hint is Self or any(_is_uncheckable(part) for part in get_args(hint))
