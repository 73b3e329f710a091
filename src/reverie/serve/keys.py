"""Which keys drive which action lane, from what the task says its lanes do."""

import re

from reverie.envs.spec import TaskSpec
from reverie.serve.protocol import KeyBinding

_ARROWS: dict[str, tuple[str, ...]] = {
    "left": ("ArrowLeft", "KeyA"),
    "right": ("ArrowRight", "KeyD"),
    "up": ("ArrowUp", "KeyW"),
    "down": ("ArrowDown", "KeyS"),
}
_OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
_WORDS = {
    **{word: word for word in _ARROWS},
    **{"rightward": "right", "leftward": "left", "upward": "up", "downward": "down"},
    **{"jump": "up", "climb": "up", "thrust": "up", "forward": "up", "backward": "down"},
}
_OTHER_PAIRS = (("KeyQ", "KeyE"), ("KeyF", "KeyG"), ("KeyH", "KeyJ"), ("KeyK", "KeyL"))
"""For lanes without a direction, once both pairs of arrows are taken; none is a shortcut."""


def key_bindings(spec: TaskSpec) -> tuple[KeyBinding, ...]:
    """Return the keys of a task; lanes that find no free pair of keys have sliders only.

    A lane's name says where +1 goes ("move down"), and that arrow drives it. A lane that names no
    direction takes the first free pair: left and right, then up and down, then letters.
    """
    if spec.action.kind == "discrete":
        return _discrete(spec.action_names)
    positive = [direction_of(name) for name in spec.action_names]
    free = [pair for pair in _free_pairs() if not _is_taken(pair, positive)]
    bindings: list[KeyBinding] = []
    claimed: set[str] = set()
    for lane, (name, direction) in enumerate(zip(spec.action_names, positive, strict=True)):
        if direction is not None and direction not in claimed:
            claimed |= {direction, _OPPOSITE[direction]}
            bindings += _pair(lane, name, _ARROWS[_OPPOSITE[direction]], _ARROWS[direction])
        elif free:
            bindings += _pair(lane, name, *free.pop(0))
    return tuple(bindings)


def direction_of(name: str) -> str | None:
    """Return the direction that a lane's name gives to +1, or None if it names none."""
    for word in re.findall(r"[a-z]+", name.lower()):
        if word in _WORDS:
            return _WORDS[word]
    return None


def _free_pairs() -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    arrows = [(_ARROWS["left"], _ARROWS["right"]), (_ARROWS["up"], _ARROWS["down"])]
    return [*arrows, *(((low,), (high,)) for low, high in _OTHER_PAIRS)]


def _is_taken(pair: tuple[tuple[str, ...], tuple[str, ...]], positive: list[str | None]) -> bool:
    return any(_ARROWS[name] in pair for name in positive if name is not None)


def _pair(
    lane: int, name: str, low: tuple[str, ...], high: tuple[str, ...]
) -> tuple[KeyBinding, ...]:
    return (
        KeyBinding(keys=low, lane=lane, value=-1.0, label=f"{name} -1"),
        KeyBinding(keys=high, lane=lane, value=1.0, label=f"{name} +1"),
    )


def _discrete(names: tuple[str, ...]) -> tuple[KeyBinding, ...]:
    bindings: list[KeyBinding] = []
    for lane, name in enumerate(names):
        direction = direction_of(name)
        arrows = _ARROWS[direction] if direction is not None else ()
        keys = (*arrows, *((f"Digit{lane + 1}",) if lane < 9 else ()))
        if keys:
            bindings.append(KeyBinding(keys=keys, lane=lane, value=1.0, label=name))
    return tuple(bindings)
