"""Harm done to files, as disks, networks and people do it."""

import random


def mutate(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Harm a file in one of the ways in which disks, networks and people harm files."""
    at, size = rng.randrange(len(content)), rng.choice([1, 7, 64, 1000])
    piece = content[at : at + size]
    kind = rng.choice(["truncate", "flip", "zero", "repeat", "lose", "noise", "grow", "empty"])
    if kind == "truncate":
        return kind, content[:at]
    if kind == "flip":
        return kind, content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[
            at + 1 :
        ]
    if kind == "zero":
        return kind, content[:at] + bytes(len(piece)) + content[at + size :]
    if kind == "repeat":
        return kind, content[:at] + piece + content[at:]
    if kind == "lose":
        return kind, content[:at] + content[at + size :]
    if kind == "noise":
        return kind, content[:at] + rng.randbytes(len(piece)) + content[at + size :]
    if kind == "grow":
        return kind, content + rng.randbytes(size)
    return kind, rng.choice([b"", b"\0" * len(content), rng.randbytes(200)])
