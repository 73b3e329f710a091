"""Checkpoints come back whole or not at all, and say why."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from reverie.core.errors import CheckpointError
from reverie.core.files import read_sealed, write_sealed
from reverie.parallel.checkpoint import (
    CheckpointFolder,
    Snapshot,
    check_tensors_fit,
    read_snapshot,
)


def snapshot(step: int, value: float = 1.0) -> Snapshot:
    return Snapshot(
        kind="tokenizer",
        step=step,
        config={"seed": 3},
        tensors={
            "weights": {"a": torch.full((2, 3), value), "scale": torch.tensor(0.5).double()},
            "optimizer": {},
            "generators": {"rank0": torch.arange(5, dtype=torch.uint8)},
        },
        scalars={"sampler": {"step": step}},
    )


def test_everything_comes_back(tmp_path: Path) -> None:
    folder = CheckpointFolder(path=tmp_path)
    written = folder.save(snapshot(7, 2.5))
    loaded = folder.load("tokenizer")
    assert loaded is not None
    assert written.name == "step-000000007"
    assert (loaded.step, loaded.config, loaded.scalars) == (
        7,
        {"seed": 3},
        {"sampler": {"step": 7}},
    )
    for group, tensors in snapshot(7, 2.5).tensors.items():
        assert loaded.tensors[group].keys() == tensors.keys()
        for name, value in tensors.items():
            assert torch.equal(loaded.tensors[group][name], value)
            assert loaded.tensors[group][name].dtype == value.dtype


def test_tied_and_sliced_tensors_are_saved_as_copies(tmp_path: Path) -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    tensors: dict[str, Tensor] = {"a": shared, "b": shared, "c": shared[:, 1]}
    given = Snapshot(kind="k", step=1, config={}, tensors={"weights": tensors}, scalars={})
    loaded = read_snapshot(CheckpointFolder(path=tmp_path).save(given), kind="k")
    assert all(torch.equal(loaded.tensors["weights"][name], tensors[name]) for name in tensors)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(path=tmp_path, num_kept=2)
    for step in (1, 2, 3, 4):
        folder.save(snapshot(step))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["latest", "step-000000003", "step-000000004"]


def test_saving_the_same_step_again_keeps_the_first(tmp_path: Path) -> None:
    folder = CheckpointFolder(path=tmp_path)
    folder.save(snapshot(4, 1.0))
    folder.save(snapshot(4, 9.0))
    loaded = folder.load("tokenizer")
    assert loaded is not None
    assert float(loaded.tensors["weights"]["a"][0, 0]) == 1.0


def test_leftovers_of_a_crash_are_replaced_and_swept(tmp_path: Path) -> None:
    folder = CheckpointFolder(path=tmp_path)
    folder.save(snapshot(1))
    (tmp_path / ".step-000000002.tmp").mkdir()
    (tmp_path / ".step-000000001.old").mkdir()
    half = tmp_path / "step-000000002"  # renamed, but the pointer never moved
    half.mkdir()
    assert folder.load("tokenizer").step == 1  # type: ignore[union-attr]
    folder.save(snapshot(2))
    assert folder.load("tokenizer").step == 2  # type: ignore[union-attr]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_deleted_checkpoint_is_not_missed(tmp_path: Path) -> None:
    folder = CheckpointFolder(path=tmp_path)
    folder.save(snapshot(1))
    newest = folder.save(snapshot(2))
    newest.rename(tmp_path / "away")
    assert folder.load("tokenizer").step == 1  # type: ignore[union-attr]
    (tmp_path / "step-000000001").rename(tmp_path / "away-too")
    assert folder.load("tokenizer") is None


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert CheckpointFolder(path=tmp_path / "nothing").load("tokenizer") is None


@pytest.mark.parametrize("name", ["weights.safetensors", "state.json", "config.json"])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    written = CheckpointFolder(path=tmp_path).save(snapshot(1))
    path = written / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=r"it is truncated\. Delete the folder .* to go back"):
        read_snapshot(written, kind="tokenizer")


def test_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    written = CheckpointFolder(path=tmp_path).save(snapshot(1))
    path = written / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged: its checksum is not the one"):
        read_snapshot(written, kind="tokenizer")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    written = CheckpointFolder(path=tmp_path).save(snapshot(1))
    (written / "generators.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"generators\.safetensors' is missing"):
        read_snapshot(written, kind="tokenizer")


def test_another_kind_is_refused(tmp_path: Path) -> None:
    written = CheckpointFolder(path=tmp_path).save(snapshot(1))
    with pytest.raises(CheckpointError, match="is of a 'tokenizer', expected a 'dynamics'"):
        read_snapshot(written, kind="dynamics")


def test_another_version_is_refused(tmp_path: Path) -> None:
    written = CheckpointFolder(path=tmp_path).save(snapshot(1))
    path = written / "manifest.json"
    write_sealed(path, read_sealed(path) | {"format_version": 99})
    with pytest.raises(
        CheckpointError, match="has format version 99, this Reverie reads version 1"
    ):
        read_snapshot(written, kind="tokenizer")


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: it has no manifest\.json"):
        read_snapshot(tmp_path, kind="tokenizer")
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_snapshot(tmp_path, kind="tokenizer")


def test_names_shapes_and_dtypes_must_fit() -> None:
    given = {"a": torch.zeros(2), "b": torch.zeros(3), "d": torch.zeros(1).double()}
    expected = {"a": torch.zeros(2), "c": torch.zeros(3), "d": torch.zeros(1)}
    with pytest.raises(CheckpointError) as caught:
        check_tensors_fit(given, expected, what="weights")
    text = str(caught.value)
    assert "'b' is unknown" in text
    assert "'c' is missing" in text
    assert "'d' is torch.float64 (1,), expected torch.float32 (1,)" in text
