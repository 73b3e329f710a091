"""Rollouts as pictures: strips (PNG) and animations (GIF), the real frames above the dreamed."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from reverie.core.files import atomic_path, write_bytes

_GAP_PX = 2
_GROUND = 96
_NUM_COLOURS = 256
_CODE_LIMIT = 4096
"""A GIF's dictionary holds so many codes before it is cleared."""


def stack_rows(
    real: UInt8[np.ndarray, "t h w 3"], dreamed: UInt8[np.ndarray, "t h w 3"]
) -> UInt8[np.ndarray, "t r w 3"]:
    """Put each real frame above the dreamed one, with a grey gap."""
    num_frames, _, width, _ = real.shape
    gap = np.full((num_frames, _GAP_PX, width, 3), _GROUND, dtype=np.uint8)
    return np.concatenate([real, gap, dreamed], axis=1)


def write_strip(path: Path, pairs: UInt8[np.ndarray, "t r w 3"], *, num_shown: int = 8) -> None:
    """Write frames side by side as a PNG; at most ``num_shown``, at even distances."""
    last = len(pairs) - 1
    chosen = sorted({round(index) for index in np.linspace(0, last, min(num_shown, last + 1))})
    columns: list[np.ndarray] = []
    for index in chosen:
        columns += [pairs[index], np.full((pairs.shape[1], _GAP_PX, 3), _GROUND, dtype=np.uint8)]
    picture = np.concatenate(columns[:-1], axis=1)
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def write_gif(path: Path, frames: UInt8[np.ndarray, "t h w 3"], *, rate_hz: float = 10.0) -> None:
    """Write an endless animation (GIF89a) with one palette of the most frequent colours."""
    palette, indices = _quantise(frames)
    _, height, width, _ = frames.shape
    size = width.to_bytes(2, "little") + height.to_bytes(2, "little")
    delay = round(100 / rate_hz).to_bytes(2, "little")
    parts = [b"GIF89a", size, b"\xf7\x00\x00", palette.tobytes()]
    parts.append(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")
    for picture in indices:
        parts.append(b"\x21\xf9\x04\x00" + delay + b"\x00\x00")
        parts.append(b"\x2c" + bytes(4) + size + b"\x00\x08" + _compress(picture.tobytes()))
    write_bytes(path, b"".join([*parts, b"\x3b"]))


def _quantise(
    frames: UInt8[np.ndarray, "t h w 3"],
) -> tuple[UInt8[np.ndarray, "c 3"], UInt8[np.ndarray, "t h w"]]:
    flat = frames.reshape(-1, 3).astype(np.int64)
    packed = (flat[:, 0] << 16) | (flat[:, 1] << 8) | flat[:, 2]
    colours, which, counts = np.unique(packed, return_inverse=True, return_counts=True)
    if len(colours) > _NUM_COLOURS:
        # Two bits less per channel: dreams are noisy, and their colours almost never repeat.
        packed = packed & 0xF8F8F8 | 0x040404
        colours, which, counts = np.unique(packed, return_inverse=True, return_counts=True)
    kept = np.sort(np.argsort(-counts, kind="stable")[:_NUM_COLOURS])
    nearest = _nearest(_unpack(colours), _unpack(colours[kept]))
    palette = np.zeros((_NUM_COLOURS, 3), dtype=np.uint8)
    palette[: len(kept)] = _unpack(colours[kept])
    return palette, nearest[which].reshape(frames.shape[:3]).astype(np.uint8)


def _unpack(packed: Int[np.ndarray, " c"]) -> Int[np.ndarray, "c 3"]:
    return np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1)


def _nearest(
    colours: Int[np.ndarray, "c 3"], palette: Int[np.ndarray, "p 3"]
) -> Int[np.ndarray, " c"]:
    pieces = [
        np.square(piece[:, None] - palette[None]).sum(axis=2).argmin(axis=1)
        for piece in np.array_split(colours, len(colours) // 2048 + 1)
    ]
    return np.concatenate(pieces)


def _compress(pixels: bytes) -> bytes:
    """Pack one picture by LZW with 8-bit roots, in blocks of at most 255 bytes."""
    value, num_bits = 0, 0
    packed = bytearray()
    for code, width in _codes(pixels):
        value |= code << num_bits
        num_bits += width
        while num_bits >= 8:  # noqa: PLR2004
            packed.append(value & 255)
            value >>= 8
            num_bits -= 8
    if num_bits:
        packed.append(value)
    blocks = [packed[start : start + 255] for start in range(0, len(packed), 255)]
    return b"".join(bytes([len(block)]) + bytes(block) for block in blocks) + b"\x00"


def _codes(pixels: bytes) -> Iterator[tuple[int, int]]:
    clear, end, roots = 256, 257, {bytes([value]): value for value in range(256)}
    table, width = dict(roots), 9
    next_code = end + 1
    yield clear, width
    prefix = b""
    for value in pixels:
        longer = prefix + bytes([value])
        if longer in table:
            prefix = longer
            continue
        yield table[prefix], width
        if next_code < _CODE_LIMIT:
            table[longer] = next_code
            # The decoder learns a code one step later, so the width grows one code later too.
            if next_code == 1 << width:
                width += 1
            next_code += 1
        else:
            yield clear, width
            table, width, next_code = dict(roots), 9, end + 1
        prefix = bytes([value])
    yield table[prefix], width
    yield end, width
