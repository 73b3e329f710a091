"""One root seed, many named children: the same names always give the same numbers."""

import hashlib

import numpy as np


def child_seed(root: int, *names: str | int) -> int:
    """Derive a seed in [0, 2**63) from a root seed and a path of names.

    Children with different paths are independent for practical purposes (BLAKE2b), and adding a
    new child never changes another one.

    Args:
        root: The one seed that a person gave.
        *names: The path of the child, such as ``("collect", "pygame-pong", 17)``.
    """
    text = "/".join([str(root), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def numpy_rng(root: int, *names: str | int) -> np.random.Generator:
    """Make the NumPy generator of a named child."""
    return np.random.default_rng(child_seed(root, *names))
