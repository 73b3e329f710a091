"""The newest things that were made, kept until newer ones need the room."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Newest(Generic[K, V]):
    """Keeps what was asked for last; what was not asked for longest goes first."""

    def __init__(self, capacity: int, *, size: Callable[[V], int] = lambda _: 1) -> None:
        """Begin empty.

        Args:
            capacity: Room for all together.
            size: Room that one takes; by default things are counted.
        """
        self._free, self._size = capacity, size
        self._found: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Return what was made under a key, or make it now."""
        if key in self._found:
            self._found.move_to_end(key)
            return self._found[key]
        made = make()
        self._found[key] = made
        self._free -= self._size(made)
        while self._free < 0:
            self._free += self._size(self._found.popitem(last=False)[1])
        return made

    def clear(self) -> None:
        """Forget everything."""
        self._free += sum(map(self._size, self._found.values()))
        self._found.clear()

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._found)
