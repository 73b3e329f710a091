"""``reverie doctor``: what this machine can and cannot do, and how to mend it."""

import ctypes
import ctypes.util
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

GIB = 1 << 30
MIN_RAM_GIB = 4.0
"""Training the pocket recipe stays below this; so does a dream with three predictors."""
MIN_DISK_GIB = 5.0
"""Data, checkpoints and latents of the pocket recipe, several times over."""
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SPEED_PROBE_SIZE = 512
SPEED_PROBE_REPEATS = 5

Level = Literal["ok", "limited", "missing"]
_MARKS: dict[Level, str] = {"ok": "ok", "limited": "--", "missing": "NO"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One finding about the machine."""

    name: str
    level: Level
    """``limited`` closes off something optional; ``missing`` means Reverie itself cannot work."""
    found: str
    mend: str = ""
    """What to do about it; empty where nothing is wrong."""


def doctor(*, as_json: Annotated[bool, tyro.conf.arg(name="json")] = False) -> int:
    """Say what this machine can and cannot do, and how to mend it.

    Args:
        as_json: Print the findings as JSON instead of a table.
    """
    rows = examine(Path.cwd())
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        print(table(rows))
    return 1 if any(row.level == "missing" for row in rows) else 0


def examine(folder: Path) -> list[Row]:
    """Look at everything once; takes a few seconds, most of them to import torch.

    Args:
        folder: Where runs and data would be written.
    """
    return [
        python_row(sys.version_info[:2]),
        *torch_rows(),
        codec_row("lossless WebP", round_trip_webp, "opencv-python-headless"),
        codec_row("zstd", round_trip_zstd, "zstandard"),
        memory_row(memory_gib()),
        disk_row(folder, shutil.disk_usage(folder).free / GIB),
        *graphics_rows(),
        chromium_row(find_chromium()),
        *extra_rows(),
    ]


def table(rows: list[Row]) -> str:
    """Lay the findings out as text, what is wrong with its remedy below it."""
    width = max(len(row.name) for row in rows)
    lines: list[str] = []
    for row in rows:
        lines.append(f"{_MARKS[row.level]:>3}  {row.name:<{width}}  {row.found}")
        if row.mend:
            lines.append(f"{'':>3}  {'':<{width}}  → {row.mend}")
    missing = sum(row.level == "missing" for row in rows)
    limited = sum(row.level == "limited" for row in rows)
    lines.append(f"\n{missing} needed things missing, {limited} optional things missing.")
    return "\n".join(lines)


def python_row(version: tuple[int, int]) -> Row:
    """Judge the Python version."""
    found = f"Python {version[0]}.{version[1]} on {platform.system()} {platform.machine()}"
    if (3, 11) <= version <= (3, 12):
        return Row(name="python", level="ok", found=found)
    return Row(name="python", level="missing", found=found, mend="Use Python 3.11 or 3.12.")


def torch_rows() -> list[Row]:
    """Describe torch: version, threads, GPU, and how fast bfloat16 is here."""
    import torch

    name = f"torch {torch.__version__}"
    rows = [Row(name="torch", level="ok", found=f"{name}, {torch.get_num_threads()} threads")]
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        found = f"{torch.cuda.get_device_name()}, {free / GIB:.1f} of {total / GIB:.1f} GiB free"
        rows.append(Row(name="gpu", level="ok", found=found))
        device = "cuda"
    else:
        remedy = "Nothing to do for the pocket recipe. Else install a CUDA build of torch."
        rows.append(Row(name="gpu", level="limited", found="none: runs on the CPU", mend=remedy))
        device = "cpu"
    seconds = {kind: _time_matmul(device, kind) for kind in (torch.float32, torch.bfloat16)}
    ratio = seconds[torch.float32] / seconds[torch.bfloat16]
    found = f"matrix products at {ratio:.1f} times the speed of float32 on {device}"
    if ratio >= 1.0:
        return [*rows, Row(name="bf16", level="ok", found=found)]
    return [*rows, Row(name="bf16", level="limited", found=found, mend="Train in float32 here.")]


def _time_matmul(device: str, dtype: object) -> float:
    import torch

    assert isinstance(dtype, torch.dtype), dtype
    matrix = torch.ones(SPEED_PROBE_SIZE, SPEED_PROBE_SIZE, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(SPEED_PROBE_REPEATS):
        start = time.perf_counter()
        # Reading one number waits for the device.
        (matrix @ matrix)[0, 0].item()
        best = min(best, time.perf_counter() - start)
    return best


def codec_row(name: str, round_trip: Callable[[], bool], package: str) -> Row:
    """Try a codec on a picture and judge what came back."""
    remedy = f"pip install --force-reinstall {package}"
    try:
        is_same = round_trip()
    except ImportError as error:
        return Row(name=name, level="missing", found=f"not importable: {error}", mend=remedy)
    if not is_same:
        return Row(name=name, level="missing", found="does not give back the bytes", mend=remedy)
    return Row(name=name, level="ok", found="gives back every byte")


def round_trip_webp() -> bool:
    """Encode and decode a noisy picture with OpenCV's lossless WebP."""
    import cv2
    import numpy as np

    picture = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    is_encoded, content = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, 101])
    decoded = cv2.imdecode(content, cv2.IMREAD_COLOR) if is_encoded else None
    return decoded is not None and np.array_equal(decoded, picture)


def round_trip_zstd() -> bool:
    """Compress and decompress some bytes."""
    import zstandard

    content = bytes(range(256)) * 16
    return zstandard.decompress(zstandard.compress(content)) == content


def memory_gib() -> tuple[float, float]:
    """Return the memory that can still be had and all of it, a container's limit included."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    available = total
    information = Path("/proc/meminfo")
    if information.exists():
        match = re.search(r"MemAvailable:\s+(\d+) kB", information.read_text())
        available = int(match[1]) * 1024 / GIB if match else total
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text) / GIB)
    return min(available, total), total


def memory_row(memory: tuple[float, float]) -> Row:
    """Judge the memory, given as (available, total) in GiB."""
    found = f"{memory[0]:.1f} of {memory[1]:.1f} GiB free"
    if memory[0] >= MIN_RAM_GIB:
        return Row(name="memory", level="ok", found=found)
    remedy = f"Training wants {MIN_RAM_GIB:.0f} GiB: close other programs. Playing needs less."
    return Row(name="memory", level="limited", found=found, mend=remedy)


def disk_row(folder: Path, free_gib: float) -> Row:
    """Judge the disk under a folder."""
    found = f"{free_gib:.1f} GiB free under {folder}"
    if free_gib >= MIN_DISK_GIB:
        return Row(name="disk", level="ok", found=found)
    remedy = f"Training wants {MIN_DISK_GIB:.0f} GiB: delete old runs, or work on another disk."
    return Row(name="disk", level="limited", found=found, mend=remedy)


def graphics_rows() -> list[Row]:
    """Look for the OpenGL libraries that three-dimensional simulators draw with."""
    rows: list[Row] = []
    for name, package in (("GL", "libgl1"), ("EGL", "libegl1"), ("OSMesa", "libosmesa6")):
        library = ctypes.util.find_library(name)
        if library is not None and _can_load(library):
            rows.append(Row(name=f"lib{name}", level="ok", found=library))
        else:
            remedy = f"Only for 3D simulators: apt-get install {package}"
            rows.append(Row(name=f"lib{name}", level="limited", found="not found", mend=remedy))
    return rows


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def find_chromium() -> str | None:
    """Return the path of Chromium or Chrome, None if there is none."""
    found = (shutil.which(name) for name in CHROMIUM_NAMES)
    return next((path for path in found if path), None)


def chromium_row(path: str | None) -> Row:
    """Judge whether the browser tests can run."""
    if path:
        return Row(name="chromium", level="ok", found=path)
    remedy = "Only for the browser tests: apt-get install chromium. Any browser can play."
    return Row(name="chromium", level="limited", found="not found", mend=remedy)


def extra_rows() -> list[Row]:
    """Judge each extra of the package: are all of its packages installed?"""
    members: dict[str, list[str]] = {}
    for text in importlib.metadata.requires("reverie") or []:
        if match := re.match(r"""([\w.-]+).*extra\s*==\s*['"]([\w-]+)""", text):
            members.setdefault(match[2], []).append(match[1])
    rows: list[Row] = []
    for extra, packages in sorted(members.items()):
        name, lost = f"extra {extra}", [item for item in packages if not _is_installed(item)]
        if lost:
            remedy = f"pip install 'reverie[{extra}]'"
            found = f"without {', '.join(lost)}"
            rows.append(Row(name=name, level="limited", found=found, mend=remedy))
        else:
            rows.append(Row(name=name, level="ok", found=", ".join(packages)))
    return rows


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
