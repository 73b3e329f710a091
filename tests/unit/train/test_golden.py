"""Golden losses, and the scale of normalised loss terms.

The goldens were recorded on one x86-64 CPU with one thread. On one machine the losses repeat bit
for bit (``test_resume``); other CPUs sum in another order, which moves the sixth or seventh digit
after three steps. Hence the tolerance of 1e-5: a change of the maths moves far more.
"""

import math
from pathlib import Path

import pytest
import torch

from reverie.data.store import EpisodeStore
from reverie.models.objective import DECAY
from reverie.parallel.checkpoint import CheckpointFolder
from reverie.parallel.ranks import Ranks
from reverie.train.loop import Training, fit
from reverie.train.progress import Progress
from tests.support.tiny import write_tiny_store
from tests.support.tiny_training import KINDS, Kind, make_training, quick_fit

GOLDEN: dict[Kind, list[float]] = {
    "tokenizer": [1.0, 0.160828173, 0.998857379, 0.160459414, 0.997482479, 0.160034433],
    "dynamics": [1.0, 0.934523761, 0.868794918, 0.726871133, 3.023965597, 0.867438734],
}
"""Normalised loss and main raw term of steps 1 to 3."""
NUM_SCALED_STEPS = 200
LOGGED_AS = {"pixel": "mse"}
RAW_TERMS: dict[Kind, str] = {"tokenizer": "mse", "dynamics": "flow"}


class Losses:
    def __init__(self) -> None:
        self.values: list[dict[str, float]] = []

    def say(self, text: str) -> None:
        pass

    def show(self, progress: Progress) -> None:
        self.values.append(dict(progress.values))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return write_tiny_store(tmp_path_factory.mktemp("data") / "store")


def losses(training: Training, folder: Path, num_steps: int) -> list[dict[str, float]]:
    heard = Losses()
    fit(
        training,
        quick_fit(num_steps),
        checkpoints=CheckpointFolder(path=folder),
        metrics=None,
        ranks=Ranks(),
        audience=heard,
    )
    return heard.values


@pytest.mark.parametrize("kind", KINDS)
def test_the_losses_of_three_steps_are_the_recorded_ones(
    kind: Kind, store: EpisodeStore, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    training = make_training(kind, store, tmp_path, total_steps=3)
    rows = losses(training, tmp_path / "c", 3)
    found = [value for row in rows for value in (row["loss"], row[RAW_TERMS[kind]])]
    assert found == pytest.approx(GOLDEN[kind], rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_normalised_term_is_near_one_after_two_hundred_steps(
    kind: Kind, store: EpisodeStore, tmp_path: Path
) -> None:
    # A small rate: the law is about terms that no longer fall by orders of magnitude.
    training = make_training(kind, store, tmp_path, total_steps=NUM_SCALED_STEPS, lr=1e-5)
    late = losses(training, tmp_path / "c", NUM_SCALED_STEPS)[-50:]
    tensors = training.state.objective.state_dict()
    names = [name.removesuffix("_rms.num_updates") for name in tensors if "num_updates" in name]
    assert names
    for name in names:
        correction = 1 - DECAY ** int(tensors[f"{name}_rms.num_updates"])
        scale = math.sqrt(float(tensors[f"{name}_rms.mean_square"]) / correction)
        readings = [row[LOGGED_AS.get(name, name)] for row in late]
        ratio = sum(readings) / len(readings) / scale
        assert 0.5 < ratio < 2.0, f"{name} is {ratio:.2f} times its running scale"
