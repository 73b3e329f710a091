"""The frames of one task of the MMBench2 release: PNG strips, WMCHUNK1 shards or raw shards.

Whatever the form, files follow each other and ignore episodes. A file that cannot be read is an
error with its name: leaving it out would shift every later frame against its action.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8

from reverie.core.errors import DataError
from reverie.core.tensors import load_tensors

STRIP_SIDE_PX = 224
"""Sides of the frames in a PNG strip."""
CHUNK_MAGIC = b"WMCHUNK1"
MAX_HEADER_BYTES = 16 << 20
MAX_FRAMES = 1 << 24
MAX_SIDE_PX = 16_383
"""Longest side of a WebP picture."""

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_IEND = (b"IEND", b"")

Frames = UInt8[np.ndarray, "n h w 3"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameFile:
    """One file of consecutive frames, checked as far as that goes without decoding."""

    path: Path
    num_frames: int
    height_px: int
    width_px: int


def list_strips(folder: Path, task: str) -> list[FrameFile]:
    """Find and check ``<task>-0.png``, ``<task>-1.png``, …; every checksum in them is verified.

    Raises:
        DataError: One is missing in the row, damaged, truncated or of another form.
    """
    found = {
        int(path.stem.removeprefix(f"{task}-")): path
        for path in folder.glob(f"{task}-*.png")
        if path.stem.removeprefix(f"{task}-").isdecimal()
    }
    missing = sorted(set(range(max(found, default=-1) + 1)) - set(found))
    if not found or missing:
        name = f"{task}-{missing[0] if missing else 0}.png"
        raise DataError(
            f"'{folder / name}' is missing: the frames of '{task}' are not complete. Download it "
            f"again; 'reverie data download' checks what is there."
        )
    return [_check_png(found[index]) for index in sorted(found)]


def list_shards(folder: Path, task: str) -> list[FrameFile]:
    """Find and check the preprocessed shards of a task, chunked or raw.

    Raises:
        DataError: The index or a shard is missing, damaged, truncated or of another form.
    """
    index = folder / task / f"{task}_index.json"
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"'{index}' cannot be read ({error}): the shards of '{task}' are not complete."
        ) from error
    is_index = isinstance(listed, dict) and all(
        Path(name).name == name and type(count) is int and 0 < count <= MAX_FRAMES
        for name, count in listed.items()
    )
    if not is_index or not listed:
        raise DataError(f"'{index}' does not list file names with their numbers of frames.")
    chosen = [name for name in sorted(listed) if name.endswith(".chunks")] or sorted(listed)
    files = [_check_shard(folder / task / name) for name in chosen]
    for file in files:
        if file.num_frames != listed[file.path.name]:
            raise DataError(
                f"'{file.path}' has {file.num_frames} frames, its index says "
                f"{listed[file.path.name]}. Make the shards again."
            )
    return files


def read_frames(file: FrameFile) -> Iterator[Frames]:
    """Decode a file in consecutive pieces; a PNG strip is one piece."""
    if file.path.suffix == ".png":
        yield _read_png(file)
    elif file.path.suffix == ".chunks":
        yield from _read_chunks(file)
    else:
        yield _read_raw(file.path)


def _check_png(path: Path) -> FrameFile:
    """Walk over the chunks of a PNG and verify every checksum; nothing is decoded."""
    header = b""
    with _opened(path) as stream:
        if stream.read(8) != _PNG_MAGIC:
            raise DataError(f"'{path}' is not a PNG file. Download it again.")
        kinds = []
        while not kinds or kinds[-1] != b"IEND":
            start = stream.read(8)
            size, kind = struct.unpack(">I4s", start) if len(start) == 8 else (0, b"")
            content = stream.read(size)
            checksum = stream.read(4)
            if len(content) != size or len(checksum) != 4:
                raise DataError(f"'{path}' is truncated. Download it again.")
            if zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(checksum, "big"):
                raise DataError(
                    f"'{path}' is damaged: a checksum near byte {stream.tell()} is wrong. "
                    f"Download it again."
                )
            header = content if not kinds else header
            kinds.append(kind)
        if stream.read(1):
            raise DataError(f"'{path}' is damaged: something follows its end. Download it again.")
    if kinds[0] != b"IHDR" or len(header) != 13:
        raise DataError(f"'{path}' is damaged: a PNG starts with its header. Download it again.")
    width, height, depth, colour = struct.unpack(">IIBB", header[:10])
    is_strip = (depth, colour) == (8, 2) and height == STRIP_SIDE_PX
    if not is_strip or width % STRIP_SIDE_PX or not 0 < width // STRIP_SIDE_PX <= MAX_FRAMES:
        raise DataError(
            f"'{path}' is {width}x{height} at {depth} bits, colour type {colour}; a strip is "
            f"{STRIP_SIDE_PX} high, a multiple of that wide, and 8-bit RGB."
        )
    count = width // STRIP_SIDE_PX
    return FrameFile(path=path, num_frames=count, height_px=height, width_px=STRIP_SIDE_PX)


def _read_png(file: FrameFile) -> Frames:
    content = np.frombuffer(_read_all(file.path), dtype=np.uint8)
    image = _decode(content)
    expected = (file.height_px, file.num_frames * file.width_px, 3)
    if image is None or image.shape != expected:
        found = "no picture" if image is None else f"a picture of {image.shape}"
        raise DataError(
            f"'{file.path}' should decode to {expected}, got {found}. Download it again."
        )
    # OpenCV reads the other way round.
    return rearrange(image[..., ::-1], "h (n w) c -> n h w c", n=file.num_frames)


def _check_shard(path: Path) -> FrameFile:
    if path.suffix == ".chunks":
        header, offset = _chunk_header(path)
        size = path.stat().st_size - offset
        if sum(length for _, length, _ in header["chunks"]) != size:
            raise DataError(f"'{path}' is not as long as its header says. Make it again.")
        return FrameFile(
            path=path,
            num_frames=header["num_frames"],
            height_px=header["H"],
            width_px=header["W"],
        )
    if path.suffix == ".pt":
        frames = _read_raw(path)
        return FrameFile(
            path=path,
            num_frames=len(frames),
            height_px=frames.shape[1],
            width_px=frames.shape[2],
        )
    raise DataError(f"'{path}' is neither a .chunks nor a .pt shard.")


def _chunk_header(path: Path) -> tuple[dict[str, Any], int]:
    with _opened(path) as stream:
        start = stream.read(12)
        if start[:8] != CHUNK_MAGIC or len(start) != 12:
            raise DataError(f"'{path}' does not start with {CHUNK_MAGIC.decode()}. Make it again.")
        (length,) = struct.unpack("<I", start[8:])
        text = stream.read(length) if length <= MAX_HEADER_BYTES else b""
    if len(text) != length:
        raise DataError(f"'{path}' is truncated: its header of {length} bytes is not there.")
    try:
        header = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"'{path}' has a damaged header: {error}. Make it again.") from error
    wanted = {"format": "wm-chunked", "version": 1, "codec": "webp"}
    names = {*wanted, "num_frames", "H", "W", "chunk_frames", "chunks"}
    if not isinstance(header, dict) or set(header) != names:
        raise DataError(f"'{path}' has a header with other fields than {', '.join(sorted(names))}.")
    for name, value in wanted.items():
        if type(header[name]) is not type(value) or header[name] != value:
            raise DataError(f"'{path}': {name} is {str(header[name])[:40]!r}, expected {value!r}.")
    _check_chunk_list(path, header, path.stat().st_size - 12 - length)
    return header, 12 + length


def _check_chunk_list(path: Path, header: dict[str, Any], available: int) -> None:
    sizes = [header[name] for name in ("num_frames", "H", "W", "chunk_frames")]
    chunks = header["chunks"]
    is_plain = all(type(x) is int and 0 < x <= MAX_FRAMES for x in sizes) and isinstance(
        chunks, list
    )
    if not is_plain or not all(
        isinstance(x, list) and len(x) == 3 and all(type(y) is int and y >= 0 for y in x)
        for x in chunks
    ):
        raise DataError(f"'{path}': the header's sizes or its list of chunks are no numbers.")
    _, height, width, most = sizes
    end = 0
    for index, (offset, length, count) in enumerate(chunks):
        is_last = index == len(chunks) - 1
        fits = 0 < count <= most and (is_last or count == most)
        if offset != end or length < 1 or not fits or offset + length > available:
            raise DataError(
                f"'{path}': chunk {index} (offset {offset}, {length} bytes, {count} frames) does "
                f"not follow the one before it, is empty, or lies past the end. The file is "
                f"truncated or damaged; make it again."
            )
        if max(height, count * width) > MAX_SIDE_PX:
            raise DataError(f"'{path}': chunk {index} is wider than WebP can be.")
        end = offset + length
    total = sum(count for _, _, count in chunks)
    if total != header["num_frames"]:
        raise DataError(
            f"'{path}': its chunks hold {total} frames, its header says {header['num_frames']}."
        )


def _read_chunks(file: FrameFile) -> Iterator[Frames]:
    header, start = _chunk_header(file.path)
    with _opened(file.path) as stream:
        for index, (offset, length, count) in enumerate(header["chunks"]):
            stream.seek(start + offset)
            content = stream.read(length)
            expected = (header["H"], count * header["W"], 3)
            image = _decode(np.frombuffer(content, dtype=np.uint8)) if _is_webp(content) else None
            if image is None or image.shape != expected:
                found = "no lossless WebP" if image is None else f"a picture of {image.shape}"
                raise DataError(
                    f"'{file.path}': chunk {index} should decode to {expected}, got {found}. "
                    f"Make the shard again."
                )
            yield rearrange(image[..., ::-1], "h (n w) c -> n h w c", n=count)


def _is_webp(content: bytes) -> bool:
    """Tell whether the container says lossless WebP of just this length."""
    if content[:4] != b"RIFF" or content[8:16] != b"WEBPVP8L" or len(content) < 25:
        return False
    whole, inner = (int.from_bytes(content[at : at + 4], "little") for at in (4, 16))
    return whole + 8 == len(content) and inner + (inner & 1) + 20 == len(content)


def _decode(content: np.ndarray) -> np.ndarray | None:
    try:
        return cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None


def _read_raw(path: Path) -> Frames:
    content = load_tensors(path)
    frames = content.get("frames") if isinstance(content, dict) else None
    is_plain = isinstance(frames, torch.Tensor) and frames.layout == torch.strided
    if not is_plain or frames is None or frames.dtype != torch.uint8 or frames.ndim != 4:
        raise DataError(f"'{path}' holds no 'frames' of uint8 (N,3,H,W). Make the shard again.")
    if frames.shape[1] != 3 or 0 in frames.shape:
        raise DataError(f"'{path}': frames have shape {tuple(frames.shape)}, expected (N,3,H,W).")
    return rearrange(frames.numpy(), "n c h w -> n h w c")


def _read_all(path: Path) -> bytes:
    with _opened(path) as stream:
        return stream.read()


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror or error}.") from error
