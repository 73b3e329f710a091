"""Tensors written in slices by several processes and read back by any number of them.

The format is torch.distributed.checkpoint's safetensors layout: one file per process, each slice
with its offset. Nothing is pickled.
"""

import warnings
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter

from reverie.core.errors import CheckpointError

SLICES = "slices"
"""Folder inside a checkpoint."""

Groups = Mapping[str, Mapping[str, Tensor]]


def begin_slices(path: Path, groups: Groups, group: ProcessGroup) -> "Future[Any]":
    """Copy this rank's slices aside and write them in the background; all ranks call together.

    Args:
        path: Folder, the same on every rank.
        groups: Named groups of named tensors; plain ones must be equal on every rank.
        group: Processes that write, in a gloo group used for nothing else meanwhile.

    Returns:
        Done on rank 0 once every rank's files are on the disk.
    """
    flat = {
        # Copied here: training goes on and overwrites tensors that lie in this process's memory.
        f"{kind}/{name}": value.detach().clone() if value.device.type == "cpu" else value
        for kind, some in groups.items()
        for name, value in some.items()
    }
    writer = HuggingFaceStorageWriter(path=str(path), save_distributed=True)
    begun = dcp.async_save(flat, storage_writer=writer, process_group=group)
    assert isinstance(begun, Future), "async_save returns a future unless a stager is given"
    return begun


def read_slices(path: Path, like: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Read groups of tensors, cut as ``like`` is; see ``checkpoint.read_snapshot``.

    Raises:
        CheckpointError: A file is no safetensors file.
    """
    try:
        reader = HuggingFaceStorageReader(path=str(path))
        known = reader.read_metadata().state_dict_metadata
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"The slices in '{path}' cannot be read: {error}. Delete the folder '{path.parent}' "
            f"to go back to the checkpoint before it."
        ) from error
    flat: dict[str, Tensor] = {}
    for key, entry in known.items():
        size, kind = entry.size, entry.properties.dtype  # type: ignore[union-attr]
        live = _live(key.partition("/")[2], like)
        if live is not None and live.shape == size:
            flat[key] = torch.empty_like(live, dtype=kind)
        else:
            flat[key] = torch.empty(size, dtype=kind)
    is_alone = not like or not torch.distributed.is_initialized()
    with warnings.catch_warnings():
        # It says that there is one process even where it was told so.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.load(flat, storage_reader=reader, no_dist=is_alone)
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in flat.items():
        kind, _, name = key.partition("/")
        groups.setdefault(kind, {})[name] = value
    return groups


def _live(name: str, like: Mapping[str, Tensor]) -> Tensor | None:
    # Moments of the optimiser are named after their weight: 'net.fc1.weight.exp_avg'.
    return like.get(name, like.get(name.rpartition(".")[0]))
