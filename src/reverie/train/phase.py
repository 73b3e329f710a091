"""One phase of a run: a folder with config, checkpoints, metrics and, at the end, a result."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reverie.core.errors import CheckpointError, ConfigError
from reverie.core.files import atomic_path, file_digest, read_sealed, write_json, write_sealed
from reverie.core.metrics import MetricWriter
from reverie.core.seeds import child_seed
from reverie.data.balance import count_windows, loss_weights
from reverie.data.sampling import Balance, SamplerConfig, WindowSampler
from reverie.data.windows import WindowList
from reverie.parallel.checkpoint import CheckpointFolder, check_tensors_fit
from reverie.parallel.compiling import decide
from reverie.parallel.ranks import Ranks
from reverie.parallel.shard import Scaling, shard_units, spread
from reverie.train.loop import FitConfig, Hook, Training, fit, resume
from reverie.train.optim import OptimConfig, make_optimizer
from reverie.train.progress import Audience, Silence
from reverie.train.state import MAX_EMA_DECAY, Average, Resumable, TrainState

Built = TypeVar("Built")

_RESULT = "result.safetensors"
_DONE = "done.json"
_CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseFolder:
    """Where one phase of a run keeps everything."""

    path: Path
    config: dict[str, Any]
    """What the phase's result depends on; a folder of another config is refused."""

    def claim(self) -> None:
        """Make the folder, or check that it belongs to the same config.

        Raises:
            ConfigError: The folder was begun under other settings.
        """
        path = self.path / _CONFIG
        if not path.exists():
            write_sealed(path, self.config)
            return
        before = _read(path)
        if before != self.config:
            changed = list(_differences(before, self.config))
            raise ConfigError(
                f"'{self.path}' was begun with other settings: {'; '.join(changed[:3])} "
                f"({len(changed)} differences). Give this run another --name, use the same "
                f"settings, or delete '{self.path}' to do this phase again."
            )

    @property
    def done(self) -> dict[str, Any] | None:
        """What the finished phase reported, or None if it is not finished."""
        path = self.path / _DONE
        return _read(path) if path.exists() else None

    def finish(self, facts: dict[str, Any], result: nn.Module | None = None) -> None:
        """Write the result, then the mark that the phase is done; drop the checkpoints."""
        if result is not None:
            tensors = {name: value.contiguous() for name, value in result.state_dict().items()}
            with atomic_path(self.path / _RESULT) as temporary:
                save_file(tensors, temporary)
            facts = facts | {"result_blake2b": file_digest(self.path / _RESULT)}
        write_sealed(self.path / _DONE, facts)
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)

    def load_result(self, module: nn.Module, *, what: str) -> None:
        """Load the result of the finished phase into a module of the same shape.

        Raises:
            CheckpointError: The result is missing, damaged or of another model.
        """
        path, facts = self.path / _RESULT, self.done
        remedy = f"Delete '{self.path}' to do this phase again."
        if facts is None or not path.exists():
            raise CheckpointError(f"'{path}' is missing: the {what} is not finished. {remedy}")
        if file_digest(path) != facts["result_blake2b"]:
            raise CheckpointError(f"'{path}' is damaged: its checksum is wrong. {remedy}")
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise CheckpointError(f"'{path}' is not safetensors: {error}. {remedy}") from error
        check_tensors_fit(tensors, module.state_dict(), what=f"weights of the {what}")
        module.load_state_dict(tensors)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Surroundings:
    """What a phase needs of the outside."""

    folder: Path
    """Folder of the run; each phase has its own inside."""
    seed: int
    ranks: Ranks = field(default_factory=Ranks)
    scaling: Scaling = field(default_factory=Scaling)
    """How the training is spread over the ranks."""
    audience: Audience = field(default_factory=Silence)


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_sealed(path)
    except ValueError as error:
        raise CheckpointError(
            f"'{path}' cannot be read: {error}. Delete '{path.parent}' to do this phase again."
        ) from error


def run_fit(
    training: Training,
    config: FitConfig,
    *,
    folder: PhaseFolder,
    around: Surroundings,
    hooks: Sequence[Hook] = (),
) -> None:
    """Resume from the newest checkpoint of a phase if there is one, and train to the end."""
    checkpoints = CheckpointFolder(path=folder.path / "checkpoints")
    ranks, audience = around.ranks, around.audience
    was_resumed = resume(training, checkpoints, ranks)
    step = training.state.step
    begun = f"goes on from step {step}" if was_resumed else "begins"
    audience.say(f"{training.kind}: {begun}; {config.total_steps} steps in {folder.path}")
    with _metrics(folder.path, ranks, resume_step=step if was_resumed else None) as metrics:
        fit(
            training,
            config,
            checkpoints=checkpoints,
            metrics=metrics,
            ranks=ranks,
            audience=audience,
            hooks=hooks,
        )


def make_sampler(
    windows: WindowList,
    weights: dict[str, float],
    folder: Path,
    *,
    weights_file: str | None = None,
    balance: Balance = "tasks",
    batch_size: int,
    seed: int,
    ranks: Ranks,
) -> WindowSampler:
    """Draw this rank's windows: balanced, by weights (left in the folder), or by a file."""
    strategy = "windows" if balance == "loss" else balance
    config = SamplerConfig(strategy=strategy, batch_size=ranks.share(batch_size), seed=seed)
    if weights_file is not None:
        config = replace(config, strategy="weighted", weights_file=weights_file)
    elif weights:
        path = folder / "weights.json"
        write_json(path, {"kind": "task", "weights": weights})
        config = replace(config, strategy="weighted", weights_file=str(path))
    return WindowSampler(windows, config, rank=ranks.rank, num_ranks=ranks.num_ranks)


@dataclass(frozen=True, slots=True, eq=False)
class LossBalance:
    """How much the windows of each task count in the loss."""

    weights: dict[str, float]
    """Empty: all alike."""
    device: torch.device

    @staticmethod
    def of_windows(windows: WindowList, balance: Balance, device: torch.device) -> "LossBalance":
        """Weigh the tasks of some windows if ``balance`` is ``loss``, and not otherwise."""
        weights = loss_weights(count_windows(windows)) if balance == "loss" else {}
        return LossBalance(weights, device)

    def of(self, tasks: Sequence[str]) -> Float[Tensor, " b"] | None:
        """Return the weight of each row, or None where all count alike."""
        if not self.weights:
            return None
        return torch.tensor([self.weights[task] for task in tasks], device=self.device)


def check_weights(
    weights: dict[str, float], weights_file: str | None, balance: Balance = "tasks"
) -> None:
    """Refuse two answers to how tasks are weighed: one of them would be ignored.

    Raises:
        ConfigError: Weights and a file are given, or one of them and a balance.
    """
    if balance != "tasks" and (weights or weights_file is not None):
        raise ConfigError(
            f"Weights are given and strategy is '{balance}'; only one can say how tasks are "
            f"balanced. Set strategy=tasks to draw by the weights."
        )
    if weights and weights_file is not None:
        raise ConfigError(
            f"task_weights and weights_file ('{weights_file}') are both given; only one can say "
            f"what is drawn. Set task_weights={{}} to draw by the file."
        )


def make_state(
    objective: nn.Module,
    optim: OptimConfig,
    sampler: Resumable,
    *,
    name: str,
    num_steps: int,
    around: Surroundings,
    max_decay: float = MAX_EMA_DECAY,
) -> TrainState:
    """Put objective, averages, optimiser, sampler and generator together, at step 0.

    Args:
        objective: Freshly made; moved to the ranks' device.
        optim: How it is optimised.
        sampler: What draws the batches.
        name: The phase's, which names its random numbers.
        num_steps: Length of the training, which decides whether compiling pays.
        around: Seed, ranks and how the training is spread over them.
        max_decay: Of the averages; a short run needs a smaller one.
    """
    ranks = around.ranks
    objective.to(ranks.device)
    scaling = _settled(around, objective, name=name, num_steps=num_steps)
    trained = spread(objective, scaling, ranks)
    rng = torch.Generator(ranks.device)
    rng.manual_seed(child_seed(around.seed, name, "loss", ranks.rank))
    return TrainState(
        objective=trained,
        twin=None if trained is objective else objective,
        average=Average(trained, max_decay=max_decay),
        optimizer=make_optimizer(trained, optim),
        rng=rng,
        sampler=sampler,
    )


def _settled(around: Surroundings, objective: nn.Module, *, name: str, num_steps: int) -> Scaling:
    """Decide whether the objective is compiled, and say so."""
    ranks, scaling = around.ranks, around.scaling
    if not shard_units(objective):
        return replace(scaling, compiles="off")
    compiles, remark = decide(
        scaling.compiles, device=ranks.device, num_ranks=ranks.num_ranks, num_steps=num_steps
    )
    if remark:
        around.audience.say(f"{name}: {remark}")
    return replace(scaling, compiles="on" if compiles else "off")


def main_first(ranks: Ranks, work: Callable[[], object]) -> None:
    """Let the first rank do something that the others wait for."""
    if ranks.is_main:
        work()
    ranks.wait()


def each_after_main(ranks: Ranks, build: Callable[[], Built]) -> Built:
    """Build something on every rank, on the others once the first one is done."""
    built = build() if ranks.is_main else None
    ranks.wait()
    return build() if built is None else built


@contextmanager
def _metrics(
    folder: Path, ranks: Ranks, *, resume_step: int | None
) -> Iterator[MetricWriter | None]:
    if not ranks.is_main:
        yield None
        return
    with MetricWriter(folder / "metrics.jsonl", resume_step=resume_step) as writer:
        yield writer


def _differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            inner = f"{path}.{name}" if path else name
            yield from _differences(before.get(name), now.get(name), inner)
    elif before != now:
        yield f"{path} was {before!r}, now {now!r}"
