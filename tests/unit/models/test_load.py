"""What is written is what was measured, in full and in half precision."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.load import CUDA_GRAPHS, load_world_model, save_world_model
from tests.support.small_world import make_small_world


def test_half_precision_halves_the_files_and_rounds_the_world_to_what_they_say(
    tmp_path: Path,
) -> None:
    world = make_small_world()
    before = {name: value.clone() for name, value in world.state_dict().items()}
    save_world_model(tmp_path / "full", world)
    save_world_model(tmp_path / "half", world, precision="float16")
    sizes = [(tmp_path / name / "dynamics.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = load_world_model(tmp_path / "half").state_dict()
    assert loaded.keys() == before.keys()
    for name, value in world.state_dict().items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name], value), name
        torch.testing.assert_close(value, before[name], atol=1e-4, rtol=1e-3)


def test_buffers_keep_full_precision_in_half_precision_files(tmp_path: Path) -> None:
    world = make_small_world()
    save_world_model(tmp_path, world, precision="float16")
    tensors = load_file(tmp_path / "tokenizer.safetensors")
    assert tensors["scale"].dtype == torch.float32


@pytest.mark.parametrize(
    ("kind", "value", "times"), [("cuda", "1", 1), ("cuda", "", 0), ("cpu", "1", 0)]
)
def test_graphs_are_recorded_on_a_gpu_when_asked_for(
    kind: str, value: str, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_world_model(tmp_path / "model", make_small_world(), card="")
    asked: list[None] = []
    monkeypatch.setenv(CUDA_GRAPHS, value)
    monkeypatch.setattr(ShortcutWorld, "record", lambda _: asked.append(None))
    # The weights stay where they are: no test has a GPU.
    monkeypatch.setattr(ShortcutWorld, "device", torch.device(kind))
    load_world_model(tmp_path / "model")
    assert len(asked) == times
