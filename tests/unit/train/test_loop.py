"""The loop tells, alarms, evaluates with averaged weights, and stops when asked."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from reverie.core.errors import ConfigError
from reverie.core.metrics import MetricWriter, read_metrics
from reverie.data.store import EpisodeStore
from reverie.models.objective import LossReport
from reverie.parallel.checkpoint import CheckpointFolder
from reverie.parallel.checks import TrainingError
from reverie.parallel.ranks import Ranks
from reverie.train.clocks import Clock
from reverie.train.loop import FitConfig, Training, TrainingStoppedError, fit
from reverie.train.progress import Progress
from reverie.train.state import TrainState
from tests.support.tiny import write_tiny_store
from tests.support.tiny_training import make_training, quick_fit


class Listener:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.shown: list[Progress] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def show(self, progress: Progress) -> None:
        self.shown.append(progress)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return write_tiny_store(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture
def training(store: EpisodeStore, tmp_path: Path) -> Training:
    return make_training("tokenizer", store, tmp_path, total_steps=40)


def train(training: Training, folder: Path, config: FitConfig, **more: Any) -> Listener:
    listener = Listener()
    fit(
        training,
        config,
        checkpoints=CheckpointFolder(path=folder),
        metrics=more.pop("metrics", None),
        ranks=Ranks(),
        audience=listener,
        **more,
    )
    return listener


def scaled(training: Training, factors: dict[int, float]) -> Training:
    """The same training with the loss of some steps multiplied."""
    inner = training.compute_loss

    def compute_loss(wrapped: nn.Module, batch: Any, state: TrainState) -> LossReport:
        report = inner(wrapped, batch, state)
        return LossReport(report.total * factors.get(state.step, 1.0), report.terms)

    return replace(training, compute_loss=compute_loss)


def test_progress_tells_speed_and_the_time_left(training: Training, tmp_path: Path) -> None:
    listener = train(training, tmp_path / "c", replace(quick_fit(6), log_every_steps=2))
    assert [progress.done for progress in listener.shown] == [2, 4, 6]
    middle = listener.shown[1]
    assert middle.rates["frames"] == pytest.approx(4 * middle.rates["steps"])
    assert middle.left_s == pytest.approx(2 / middle.rates["steps"])
    assert {"loss", "psnr_db", "gradient_norm"} <= middle.values.keys()


def test_metrics_hold_every_term_and_the_hooks_readings(training: Training, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    config = replace(quick_fit(4), log_every_steps=2, evaluate_every_steps=3)

    def look(state: TrainState) -> dict[str, float]:
        return {"held_out": 7.0}

    with MetricWriter(path) as metrics:
        train(training, tmp_path / "c", config, metrics=metrics, hooks=[look])
    rows = read_metrics(path)
    assert [row["step"] for row in rows if "loss" in row] == [2, 4]
    assert [row["step"] for row in rows if row.get("held_out") == 7] == [3, 4]


def test_hooks_see_the_averaged_weights_and_training_goes_on_with_its_own(
    training: Training, tmp_path: Path
) -> None:
    name = "tokenizer.norm.gain"
    seen: list[torch.Tensor] = []

    def look(state: TrainState) -> dict[str, float]:
        seen.append(state.objective.get_parameter(name).detach().clone())
        assert not state.objective.training
        return {}

    train(training, tmp_path / "c", quick_fit(3), hooks=[look])
    state = training.state
    assert torch.equal(seen[0], state.average.tensors[name])
    assert not torch.equal(seen[0], state.objective.get_parameter(name))
    assert state.objective.training


def test_a_loss_that_is_not_finite_stops_before_anything_broken_is_saved(
    training: Training, tmp_path: Path
) -> None:
    broken = scaled(training, {4: float("nan")})
    config = replace(quick_fit(8), save_every_steps=2)
    with pytest.raises(TrainingError, match="loss of the tokenizer is nan at step 5"):
        train(broken, tmp_path / "c", config)
    newest = CheckpointFolder(path=tmp_path / "c").latest()
    assert newest is not None
    assert newest.name == "step-000000004"


def test_weights_that_are_not_finite_are_not_saved(training: Training, tmp_path: Path) -> None:
    broken = scaled(training, {1: float("inf")})
    config = replace(quick_fit(4), log_every_steps=100, save_every_steps=2)
    with pytest.raises(TrainingError, match="weights of the tokenizer are not finite"):
        train(broken, tmp_path / "c", config)
    assert CheckpointFolder(path=tmp_path / "c").latest() is None


def test_a_gradient_far_above_its_median_raises_an_alarm(
    training: Training, tmp_path: Path
) -> None:
    quiet = dict.fromkeys(range(30), 0.01)
    config = replace(quick_fit(30), log_every_steps=5)
    listener = train(scaled(training, quiet | {27: 100.0}), tmp_path / "c", config)
    alarms = [text for text in listener.said if "times its median" in text]
    assert len(alarms) == 1
    assert "gradient norm reached" in alarms[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_saves_the_step_in_flight_and_says_how_to_go_on(
    training: Training, tmp_path: Path, number: signal.Signals
) -> None:
    inner = training.next_batch

    def interrupt() -> Any:
        if training.state.step == 2:
            os.kill(os.getpid(), number)
        return inner()

    before = signal.getsignal(number)
    with pytest.raises(TrainingStoppedError, match="after step 3 of 40.*Run the same command"):
        train(replace(training, next_batch=interrupt), tmp_path / "c", quick_fit(40))
    newest = CheckpointFolder(path=tmp_path / "c").latest()
    assert newest is not None
    assert newest.name == "step-000000003"
    assert signal.getsignal(number) is before


def test_a_clock_rings_by_steps_or_by_seconds() -> None:
    assert [step for step in range(1, 8) if Clock(every_steps=3).rings(step)] == [3, 6]
    assert not Clock().rings(1)
    hurried = Clock(every_s=1e-9)
    assert hurried.rings(1)


def test_a_fit_without_steps_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be at least 1, got 0"):
        FitConfig(total_steps=0)
