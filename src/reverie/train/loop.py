"""The one training loop: next batch, loss, step; clocks say when to log, evaluate and save."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from reverie.core.errors import ConfigError, ReverieError
from reverie.core.metrics import MetricWriter
from reverie.models.objective import LossReport
from reverie.parallel.checkpoint import CheckpointFolder
from reverie.parallel.checks import check_finite, check_replicas_equal
from reverie.parallel.ranks import Ranks
from reverie.parallel.shard import is_sharded
from reverie.parallel.writer import CheckpointWriter
from reverie.train.clocks import Clock, StopRequest, catch_stop
from reverie.train.journal import Journal
from reverie.train.optim import OptimConfig, clip_gradients, set_lr
from reverie.train.progress import Audience
from reverie.train.state import TrainState, restore, to_snapshot


@dataclass(frozen=True, kw_only=True, slots=True)
class FitConfig:
    """How long to train, and when the loop does something beside stepping."""

    total_steps: int
    log_every_steps: int = 50
    evaluate_every_steps: int = 2000
    """Hooks run after so many steps and at the end; 0 leaves only the end."""
    save_every_steps: int = 1000
    save_every_s: float = 60.0
    """A crash loses at most this much; 0 leaves only the steps."""

    def __post_init__(self) -> None:
        """Refuse runs without steps and clocks that run backwards."""
        if self.total_steps < 1 or self.log_every_steps < 1:
            raise ConfigError(
                f"total_steps and log_every_steps must be at least 1, got {self.total_steps} and "
                f"{self.log_every_steps}."
            )
        if min(self.evaluate_every_steps, self.save_every_steps, self.save_every_s) < 0:
            raise ConfigError("The clocks evaluate_every_steps and save_every_… must not be < 0.")


class TrainingStoppedError(ReverieError):
    """A person or the system stopped the training; everything up to here is saved."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Training:
    """What one phase trains, on what, and where it leaves its traces."""

    kind: str
    """Name of the phase, such as ``"tokenizer"``."""
    state: TrainState
    next_batch: Callable[[], Any]
    """Draws from ``state.sampler``; must not read ahead of the position that it reports."""
    compute_loss: Callable[[torch.nn.Module, Any, TrainState], LossReport]
    """Calls the (wrapped) objective with a batch."""
    frames_per_step: int
    """Frames that one step of all ranks learns from."""
    optim: OptimConfig
    config: dict[str, Any]
    """The whole configuration; saved in every checkpoint."""


Hook = Callable[[TrainState], dict[str, float]]
"""Called with the averaged weights in place; what it returns is logged."""


def fit(
    training: Training,
    config: FitConfig,
    *,
    checkpoints: CheckpointFolder,
    metrics: MetricWriter | None,
    ranks: Ranks,
    audience: Audience,
    hooks: Sequence[Hook] = (),
) -> TrainState:
    """Train until ``total_steps``, going on from the newest checkpoint if there is one.

    Args:
        training: What to train.
        config: How long, and the clocks.
        checkpoints: Where to resume from and save to.
        metrics: Where numbers go; None on ranks other than the first.
        ranks: This process among the others.
        audience: Who is told.
        hooks: Evaluations.

    Raises:
        TrainingStoppedError: Ctrl-C or SIGTERM came; the state is saved.
        TrainingError: A loss or a weight is not finite; nothing broken was saved.
    """
    state = training.state
    wrapped = ranks.wrap(state.objective)
    writer = CheckpointWriter(checkpoints, ranks, in_slices=is_sharded(state.objective))
    evaluate = Clock(every_steps=config.evaluate_every_steps)
    save = Clock(every_steps=config.save_every_steps, every_s=config.save_every_s)
    journal = Journal(
        training.kind, config.total_steps, metrics=metrics, audience=audience, ranks=ranks
    )
    state.objective.train()
    with catch_stop() as stop:
        while state.step < config.total_steps:
            started = time.perf_counter()
            _step(training, config, wrapped, journal)
            state.elapsed_s += time.perf_counter() - started
            at_end = state.step == config.total_steps
            if at_end or state.step % config.log_every_steps == 0:
                journal.flush(state.step, frames_per_step=training.frames_per_step)
            if hooks and (evaluate.rings(state.step) or at_end):
                _evaluate(state, hooks, journal, ranks)
            stopping, saving = ranks.agree(bool(stop), save.rings(state.step))
            journal.saved(writer.poll())
            if stopping or saving or at_end:
                _save(training, writer, ranks, journal)
            if stopping or at_end:
                journal.saved(writer.finish())
            if stopping and not at_end:
                raise TrainingStoppedError(_farewell(training, config, stop))
    return state


def resume(training: Training, checkpoints: CheckpointFolder, ranks: Ranks) -> bool:
    """Put the newest checkpoint into the training's state; return whether there was one."""
    snapshot = checkpoints.load(training.kind, like=training.state.objective.state_dict())
    if snapshot is not None:
        restore(training.state, snapshot, ranks)
    return snapshot is not None


def _step(
    training: Training, config: FitConfig, wrapped: torch.nn.Module, journal: Journal
) -> None:
    state, optim = training.state, training.optim
    rate = set_lr(state.optimizer, optim, step=state.step, total_steps=config.total_steps)
    report = training.compute_loss(wrapped, training.next_batch(), state)
    state.optimizer.zero_grad(set_to_none=True)
    report.total.backward()
    norm = clip_gradients(state.objective, optim.clip_norm)
    state.optimizer.step()
    state.average.update(state.objective, state.step)
    state.step += 1
    journal.note(report, gradient_norm=norm, lr=rate)


def _evaluate(state: TrainState, hooks: Sequence[Hook], journal: Journal, ranks: Ranks) -> None:
    with state.averaged():
        if ranks.is_main:
            for hook in hooks:
                journal.write(state.step, hook(state))
        ranks.wait()


def _save(training: Training, writer: CheckpointWriter, ranks: Ranks, journal: Journal) -> None:
    state = training.state
    journal.saved(writer.finish())
    weights = state.objective.state_dict()
    check_finite(weights, what=f"weights of the {training.kind}", ranks=ranks)
    check_replicas_equal(weights, ranks)
    snapshot = to_snapshot(state, ranks, kind=training.kind, config=training.config)
    journal.saved(writer.save(snapshot))


def _farewell(training: Training, config: FitConfig, stop: StopRequest) -> str:
    return (
        f"Stopped by {stop.name or 'another rank'} after step {training.state.step} of "
        f"{config.total_steps} of the {training.kind}; everything is saved. "
        f"Run the same command again to go on from here."
    )
