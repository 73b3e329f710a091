"""Training checkpoints: folders of safetensors and JSON, atomic, checksummed, read strictly.

A checkpoint is written into a temporary folder, flushed to the disk and renamed; the pointer
``latest`` moves afterwards. A crash at any moment leaves the last reported checkpoint loadable.
"""

import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from reverie.core.errors import CheckpointError
from reverie.core.files import file_digest, read_sealed, write_json, write_sealed
from reverie.parallel.slices import SLICES, read_slices

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
"""Raised whenever older code could misread a newer checkpoint."""

_POINTER = "latest"
_MANIFEST = "manifest.json"
_SCALARS = "state.json"
_CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Snapshot:
    """All that a checkpoint holds: tensors in named groups, and what JSON can say."""

    kind: str
    """What was being trained, such as ``"tokenizer"``."""
    step: int
    config: dict[str, Any]
    """The whole configuration that the training ran under."""
    tensors: Mapping[str, Mapping[str, Tensor]]
    """One safetensors file per group, such as ``weights``, ``ema``, ``optimizer``."""
    scalars: dict[str, Any]
    """JSON values: sampler states, counters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointFolder:
    """Where the checkpoints of one training lie, and how many are kept."""

    path: Path
    num_kept: int = 2
    """Two: the newest, and one to go back to if a disk fault damages it."""

    def save(self, snapshot: Snapshot) -> Path:
        """Write a checkpoint, move ``latest`` to it, drop the oldest ones; return its folder."""
        present = self.find(snapshot.step)
        if present is not None:
            return present
        temporary = self.begin(snapshot.step)
        for group, tensors in snapshot.tensors.items():
            path = temporary / f"{group}.safetensors"
            save_file({name: _plain(value) for name, value in tensors.items()}, path)
            _flush_file(path)
        return self.publish(snapshot, temporary)

    def find(self, step: int) -> Path | None:
        """Return the checkpoint of a step if it is the newest one."""
        target = self.path / f"step-{step:09d}"
        return target if target.exists() and self.latest() == target else None

    def begin(self, step: int) -> Path:
        """Make the empty folder into which a checkpoint's tensors are written first."""
        temporary = self.path / f".step-{step:09d}.tmp"
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
        return temporary

    def publish(self, snapshot: Snapshot, temporary: Path) -> Path:
        """Add what is not a tensor, and the manifest; rename; move the pointer; drop old ones."""
        name = f"step-{snapshot.step:09d}"
        target = self.path / name
        _write_facts(temporary, snapshot)
        # A whole folder that the pointer never reached: a crash came between the two.
        _remove(target)
        temporary.rename(target)
        _flush_folder(self.path)
        write_sealed(self.path / _POINTER, {"folder": name})
        _flush_folder(self.path)
        self._drop_old(keep=name)
        return target

    def latest(self) -> Path | None:
        """Return the newest checkpoint, or None if nothing was saved yet.

        A checkpoint that a person deleted is not missed: the newest of the others is returned.
        """
        pointer = self.path / _POINTER
        if not pointer.exists():
            return None
        named = self.path / _read_json(pointer)["folder"]
        if named.exists():
            return named
        others = self._complete()
        if not others:
            return None
        logger.warning("%s is gone; going back to %s", named.name, others[-1].name)
        return others[-1]

    def load(self, kind: str, *, like: Mapping[str, Tensor] | None = None) -> Snapshot | None:
        """Read the newest checkpoint, or return None if nothing was saved yet.

        Args:
            kind: What is being trained.
            like: Weights as this process holds them; see ``read_snapshot``.
        """
        folder = self.latest()
        return None if folder is None else read_snapshot(folder, kind=kind, like=like)

    def _complete(self) -> list[Path]:
        return sorted(folder for folder in self.path.glob("step-*") if folder.is_dir())

    def _drop_old(self, *, keep: str) -> None:
        others = [folder for folder in self._complete() if folder.name != keep]
        for folder in others[: len(others) - self.num_kept + 1]:
            _remove(folder)
        for leftover in self.path.glob(".step-*"):
            shutil.rmtree(leftover)


def read_snapshot(folder: Path, *, kind: str, like: Mapping[str, Tensor] | None = None) -> Snapshot:
    """Read a checkpoint after checking every file against the manifest.

    Args:
        folder: Of one checkpoint, written by one process or in slices by several.
        kind: What was being trained.
        like: Weights as this process holds them. Of a checkpoint in slices it then reads only the
            slices that it needs, however many processes wrote them; all must call this together.
            None reads everything whole.

    Raises:
        CheckpointError: A file is missing, truncated or damaged, the format is another version's,
            or the checkpoint is of another kind.
    """
    manifest = _check_manifest(folder, kind)
    if any(name.startswith(f"{SLICES}/") for name in manifest["files"]):
        tensors: Mapping[str, Mapping[str, Tensor]] = read_slices(folder / SLICES, like or {})
    else:
        parts = [Path(name) for name in manifest["files"]]
        tensors = {
            part.stem: _read_tensors(folder / part)
            for part in parts
            if part.suffix == ".safetensors"
        }
    return Snapshot(
        kind=kind,
        step=manifest["step"],
        config=_read_json(folder / _CONFIG),
        tensors=tensors,
        scalars=_read_json(folder / _SCALARS),
    )


def _write_facts(folder: Path, snapshot: Snapshot) -> None:
    write_json(folder / _CONFIG, snapshot.config)
    write_json(folder / _SCALARS, snapshot.scalars)
    files = {
        str(path.relative_to(folder)): {
            "size_bytes": path.stat().st_size,
            "blake2b": file_digest(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = {
        "format_version": FORMAT_VERSION,
        "kind": snapshot.kind,
        "step": snapshot.step,
        "files": files,
    }
    write_sealed(folder / _MANIFEST, manifest)
    _flush_folder(folder)


def _check_manifest(folder: Path, kind: str) -> dict[str, Any]:
    remedy = f"Delete the folder '{folder}' to go back to the checkpoint before it."
    path = folder / _MANIFEST
    if not path.exists():
        raise CheckpointError(
            f"'{folder}' is not a checkpoint: it has no {_MANIFEST}. "
            f"Name a folder such as 'step-000000100', or {remedy[0].lower()}{remedy[1:]}"
        )
    manifest = _read_json(path)
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"The checkpoint '{folder}' has format version {version}, this Reverie reads version "
            f"{FORMAT_VERSION}. Use the Reverie that wrote it, or train again under a new name."
        )
    if manifest["kind"] != kind:
        raise CheckpointError(
            f"The checkpoint '{folder}' is of a '{manifest['kind']}', expected a '{kind}'. "
            f"Give the folder of a '{kind}' training."
        )
    for name, entry in manifest["files"].items():
        _check_file(folder / name, entry, remedy)
    return manifest


def _check_file(path: Path, entry: dict[str, Any], remedy: str) -> None:
    if not path.exists():
        raise CheckpointError(f"The checkpoint file '{path}' is missing. {remedy}")
    size, expected = path.stat().st_size, entry["size_bytes"]
    if size != expected:
        raise CheckpointError(
            f"The checkpoint file '{path}' has {size} bytes, its manifest says {expected}: it is "
            f"truncated. {remedy}"
        )
    if file_digest(path) != entry["blake2b"]:
        raise CheckpointError(
            f"The checkpoint file '{path}' is damaged: its checksum is not the one in the "
            f"manifest. {remedy}"
        )


def check_tensors_fit(
    given: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, what: str
) -> None:
    """Raise unless both have the same names, shapes and dtypes.

    Args:
        given: What the checkpoint holds.
        expected: What the model in memory has.
        what: What they are, for the message, such as ``"weights of the tokenizer"``.
    """
    problems = [f"'{name}' is missing" for name in expected if name not in given]
    problems += [f"'{name}' is unknown" for name in given if name not in expected]
    for name in given.keys() & expected.keys():
        have, want = given[name], expected[name]
        if have.shape != want.shape or have.dtype != want.dtype:
            problems.append(
                f"'{name}' is {have.dtype} {tuple(have.shape)}, expected {want.dtype} "
                f"{tuple(want.shape)}"
            )
    if problems:
        raise CheckpointError(
            f"The checkpoint's {what} do not fit this model: {'; '.join(sorted(problems)[:3])} "
            f"({len(problems)} differences). It was trained with another configuration: use the "
            f"same settings, or train under a new name."
        )


def _plain(value: Tensor) -> Tensor:
    # Tied or sliced tensors share storage, which safetensors refuses; a copy never does.
    return value.detach().to("cpu", copy=True).contiguous()


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(
            f"The checkpoint file '{path}' is not readable safetensors: {error}."
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_sealed(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"The checkpoint file '{path}' cannot be read: {error}. "
            f"Delete the folder '{path.parent}' to go back to the checkpoint before it."
        ) from error


def _remove(folder: Path) -> None:
    # Renamed first: a crash inside rmtree must not leave half a checkpoint under a good name.
    if folder.exists():
        doomed = folder.with_name(f".{folder.name}.old")
        folder.rename(doomed)
        shutil.rmtree(doomed)


def _flush_file(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _flush_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
