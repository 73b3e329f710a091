"""How tasks share a store, with the worked example, and a loss that makes up for it."""

import pytest
import torch

from reverie.core.errors import ConfigError
from reverie.data.balance import (
    count_windows,
    effective_sample_share,
    frame_shares,
    loss_weights,
)
from reverie.data.shards import EpisodeEntry
from reverie.data.windows import list_windows
from reverie.train.phase import LossBalance
from reverie.train.tokenizer import TokenizerTrainingConfig

COUNTS = {"a": 977, "b": 477, "c": 2}
DIGITS = {"abs": 5e-7, "rel": 0}
CPU = torch.device("cpu")


def test_example_p_loss_weights_have_a_price() -> None:
    assert list(frame_shares(COUNTS).values()) == pytest.approx(
        [0.671016, 0.327610, 0.001374], **DIGITS
    )
    assert list(loss_weights(COUNTS).values()) == pytest.approx(
        [0.496759, 1.017470, 242.666667], **DIGITS
    )
    assert effective_sample_share(COUNTS) == pytest.approx(0.0123, abs=5e-5)


def test_loss_weights_and_uniform_sampling_mean_the_same() -> None:
    shares, weights = frame_shares(COUNTS), loss_weights(COUNTS)
    for task in COUNTS:
        assert shares[task] * weights[task] == pytest.approx(1 / len(COUNTS))


def entry(name: str, task: str, num_frames: int) -> EpisodeEntry:
    return EpisodeEntry(
        id=name,
        task=task,
        source="random",
        seed=0,
        num_steps=num_frames - 1,
        action_width=1,
        terminated=False,
        score=0.0,
    )


INDEX = [entry("e-0", "a", 10), entry("e-1", "a", 4), entry("e-2", "b", 3), entry("e-3", "c", 2)]


def test_windows_are_counted_by_task_and_weighed_against_their_number() -> None:
    windows = list_windows(INDEX, 3)  # "c" is too short for one
    assert count_windows(windows) == {"a": 8 + 2, "b": 1}
    balance = LossBalance.of_windows(windows, "loss", CPU)
    assert balance.of(["a", "b", "a"]).tolist() == pytest.approx([0.55, 5.5, 0.55])
    assert LossBalance.of_windows(windows, "windows", CPU).of(["a"]) is None
    assert LossBalance.of_windows(windows, "tasks", CPU).of(["a"]) is None


def test_a_balance_beside_weights_is_refused() -> None:
    with pytest.raises(ConfigError, match="strategy is 'loss'; only one can say"):
        TokenizerTrainingConfig(strategy="loss", task_weights={"a": 1.0})
    with pytest.raises(ConfigError, match="strategy is 'windows'"):
        TokenizerTrainingConfig(strategy="windows", weights_file="w.json")
