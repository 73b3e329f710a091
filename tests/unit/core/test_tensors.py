"""Torch files of the older kind are read only where the whole file was verified, and never run."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie.core.errors import CheckpointError, DataError
from reverie.core.tensors import load_tensors


class Hostile:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


def save_old(content: Any, path: Path) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def test_an_old_file_is_read_where_its_checksum_was_compared(tmp_path: Path) -> None:
    old = save_old({"weight": torch.arange(3.0)}, tmp_path / "old.pth")
    with pytest.raises(DataError, match="damaged, truncated or no torch file"):
        load_tensors(old)
    assert torch.equal(load_tensors(old, is_verified=True)["weight"], torch.arange(3.0))


def test_an_old_file_runs_nothing_even_then(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    old = save_old({"weight": Hostile(trace)}, tmp_path / "old.pth")
    with pytest.raises(CheckpointError, match="Nothing was run"):
        load_tensors(old, is_verified=True, error=CheckpointError)
    assert not trace.exists()
