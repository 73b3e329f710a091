"""The scale of latents is measured on windows like those of the training."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reverie.core.types import FrameSpec
from reverie.data.latents import FrameCache
from reverie.data.store import EpisodeStore
from reverie.train.tokenizer import measure_latent_std
from tests.unit.data.making import make_episode


class Counter(nn.Module):
    """Looks back as far as it can: the latent of a frame is its place in the window."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(()))

    def embed(self, frames: Tensor) -> Tensor:
        places = torch.arange(frames.shape[1], dtype=torch.float32)
        return places.view(1, -1, 1, 1).expand(len(frames), -1, 2, 3)


@pytest.mark.parametrize(("window_length", "std"), [(1, 0.0), (3, (2 / 3) ** 0.5)])
def test_it_is_measured_on_windows_of_the_training_length(
    window_length: int, std: float, tmp_path: Path
) -> None:
    store = EpisodeStore.create(tmp_path / "store", FrameSpec(height_px=12, width_px=20), "zstd")
    with store.writer() as writer:
        writer.append(make_episode(steps=6))
    store.refresh()
    cache = FrameCache.build(store, tmp_path / "frames")
    found = measure_latent_std(Counter(), store, cache, window_length=window_length, seed=0)
    assert found == pytest.approx(std, rel=1e-3)
