"""A restart changes no bit, and what cannot be resumed is refused by its text."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie.core.errors import CheckpointError, ConfigError
from reverie.data.store import EpisodeStore
from reverie.parallel.checkpoint import CheckpointFolder
from reverie.parallel.checks import tensors_digest
from reverie.parallel.ranks import Ranks
from reverie.train.loop import FitConfig, Training, fit, resume
from reverie.train.optim import Matrices
from reverie.train.phase import PhaseFolder
from reverie.train.progress import Silence
from reverie.train.state import restore, to_snapshot
from tests.support.tiny import write_tiny_store
from tests.support.tiny_training import KINDS, Kind, make_training, quick_fit


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return write_tiny_store(tmp_path_factory.mktemp("data") / "store")


def train(training: Training, folder: Path, config: FitConfig) -> None:
    fit(
        training,
        config,
        checkpoints=CheckpointFolder(path=folder, num_kept=9),
        metrics=None,
        ranks=Ranks(),
        audience=Silence(),
    )


def fingerprint(training: Training) -> dict[str, Any]:
    """Weights with running scales, averages, optimiser, generators, sampler."""
    snapshot = to_snapshot(training.state, Ranks(), kind=training.kind, config={})
    digests = {name: tensors_digest(group).hex() for name, group in snapshot.tensors.items()}
    return digests | {"sampler": snapshot.scalars["sampler"], "step": snapshot.step}


@pytest.mark.parametrize("matrices", ["adamw", "muon"])
@pytest.mark.parametrize("kind", KINDS)
def test_four_steps_equal_two_then_a_restart_then_two_bit_for_bit(
    kind: Kind, matrices: Matrices, store: EpisodeStore, tmp_path: Path
) -> None:
    whole = make_training(kind, store, tmp_path, matrices=matrices)
    train(whole, tmp_path / "whole", replace(quick_fit(4), save_every_steps=2))
    (tmp_path / "whole" / "step-000000004").rename(tmp_path / "end")

    half = make_training(kind, store, tmp_path, matrices=matrices)
    # Everything that the restart must restore is spoilt first.
    with torch.no_grad():
        for value in [*half.state.objective.parameters(), *half.state.average.tensors.values()]:
            value.add_(1.0)
    half.state.rng.manual_seed(1)
    assert resume(half, CheckpointFolder(path=tmp_path / "whole"), Ranks())
    assert half.state.step == 2
    train(half, tmp_path / "half", quick_fit(4))
    assert fingerprint(half) == fingerprint(whole)


def test_nothing_to_resume_from_says_so(store: EpisodeStore, tmp_path: Path) -> None:
    training = make_training("tokenizer", store, tmp_path)
    assert not resume(training, CheckpointFolder(path=tmp_path / "none"), Ranks())


def test_a_checkpoint_of_the_other_phase_is_refused(store: EpisodeStore, tmp_path: Path) -> None:
    train(make_training("tokenizer", store, tmp_path), tmp_path / "c", quick_fit(1))
    other = make_training("dynamics", store, tmp_path)
    with pytest.raises(CheckpointError, match="is of a 'tokenizer', expected a 'dynamics'"):
        resume(other, CheckpointFolder(path=tmp_path / "c"), Ranks())


def test_weights_of_another_shape_are_refused(store: EpisodeStore, tmp_path: Path) -> None:
    training = make_training("tokenizer", store, tmp_path)
    snapshot = to_snapshot(training.state, Ranks(), kind="tokenizer", config={})
    name = "tokenizer.norm.gain"
    weights = dict(snapshot.tensors["weights"]) | {name: torch.ones(99)}
    changed = replace(snapshot, tensors=dict(snapshot.tensors) | {"weights": weights})
    with pytest.raises(CheckpointError, match=r"do not fit this model: 'tokenizer\.norm\.gain'"):
        restore(training.state, changed, Ranks())


def test_a_rank_that_was_not_there_before_draws_other_numbers(
    store: EpisodeStore, tmp_path: Path
) -> None:
    first, second = (make_training("tokenizer", store, tmp_path).state for _ in range(2))
    snapshot = to_snapshot(first, Ranks(), kind="tokenizer", config={})
    restore(first, snapshot, Ranks(rank=0, num_ranks=2))
    restore(second, snapshot, Ranks(rank=1, num_ranks=2))
    assert not torch.equal(torch.rand(4, generator=first.rng), torch.rand(4, generator=second.rng))


def test_a_phase_begun_with_other_settings_is_refused_and_named(tmp_path: Path) -> None:
    PhaseFolder(path=tmp_path / "p", config={"optim": {"lr": 0.1}, "seed": 0}).claim()
    PhaseFolder(path=tmp_path / "p", config={"optim": {"lr": 0.1}, "seed": 0}).claim()
    other = PhaseFolder(path=tmp_path / "p", config={"optim": {"lr": 0.2}, "seed": 0})
    with pytest.raises(ConfigError, match=r"optim\.lr was 0\.1, now 0\.2 \(1 differences\)"):
        other.claim()


def test_a_damaged_result_is_refused(tmp_path: Path) -> None:
    folder = PhaseFolder(path=tmp_path / "p", config={})
    module = torch.nn.Linear(3, 2)
    folder.claim()
    with pytest.raises(CheckpointError, match="the tokenizer is not finished"):
        folder.load_result(module, what="tokenizer")
    folder.finish({"latent_std": 0.5}, module)
    fresh = torch.nn.Linear(3, 2)
    folder.load_result(fresh, what="tokenizer")
    assert torch.equal(fresh.weight, module.weight)
    path = tmp_path / "p" / "result.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="is damaged: its checksum is wrong"):
        folder.load_result(fresh, what="tokenizer")
