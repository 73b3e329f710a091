"""Trains small modules as one of several ranks; a process that torchrun starts in tests.

Run as ``python -m tests.support.rank_process FOLDER NUM_STEPS JOB…``; see ``JOBS``. The regression
draws no randomness of its own, so two ranks with half the batch must do what one process does with
all of it. Part of the module joins late, as the heads of the dynamics do.
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reverie.core.batch import Batch
from reverie.core.metrics import MetricWriter
from reverie.models.dynamics.net import DynamicsNet
from reverie.models.dynamics.objective import DynamicsObjective, ObjectiveConfig
from reverie.models.objective import LossReport, RunningRms
from reverie.parallel.checkpoint import CheckpointFolder
from reverie.parallel.ranks import Ranks, setup_ranks
from reverie.parallel.shard import Scaling
from reverie.train.loop import FitConfig, Training, fit, resume
from reverie.train.optim import OptimConfig
from reverie.train.phase import Surroundings, make_state
from reverie.train.progress import Silence
from reverie.train.state import TrainState
from tests.support.tiny import TASK, TINY_HEADS, tiny_dynamics

LATE_STEP = 2
TOTAL_STEPS = 6
NUM_ROWS = 8
NUM_FRAMES = 5
SHARDED = Scaling(strategy="fsdp", saves_memory=True, compiles="on", compile_backend="eager")
JOBS = ("regression-ddp", "regression-fsdp", "dynamics-ddp", "dynamics-fsdp")


class Slice(nn.Module):
    is_shard_unit = True

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 7)

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.silu(self.linear(inputs))


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(Slice(), nn.Linear(7, 2))
        self.late = nn.Linear(3, 2)
        self.rms = RunningRms()

    def forward(self, inputs: Tensor, *, step: int) -> LossReport:
        out = self.net(inputs) + (self.late(inputs) if step >= LATE_STEP else 0.0)
        loss = (out - inputs[:, :2] ** 2).square().mean()
        return LossReport(self.rms(loss), {"mse": loss.detach()})


@dataclass(slots=True)
class Rows:
    """Rows of the joined batch that belong to one rank."""

    ranks: Ranks
    step: int = 0

    def next_batch(self) -> Tensor:
        rng = torch.Generator().manual_seed(self.step)
        self.step += 1
        whole = torch.randn(NUM_ROWS, NUM_FRAMES, 64, generator=rng)
        size = self.ranks.share(NUM_ROWS)
        return whole[self.ranks.rank * size : (self.ranks.rank + 1) * size]

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]


def regress(wrapped: nn.Module, rows: Tensor, state: TrainState) -> LossReport:
    return wrapped(rows[:, 0, :3], step=state.step)


def dream(wrapped: nn.Module, rows: Tensor, state: TrainState) -> LossReport:
    """All losses of the dynamics, on made-up latents."""
    config = tiny_dynamics()
    latents = rows.reshape(*rows.shape[:2], config.num_latent_tokens, -1)
    size = rows.shape[:2]
    batch = Batch(
        frames=None,
        prev_actions=rows[:, :, : config.action_width],
        prev_rewards=rows[:, :, 0],
        action_mask=torch.ones(size[0], config.action_width),
        is_first=torch.zeros(size, dtype=torch.bool),
        is_terminal=torch.zeros(size, dtype=torch.bool),
        task=(TASK,) * size[0],
    )
    return wrapped(latents, batch, step=state.step, rng=state.rng)


def make_objective(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "regression":
        return Regression()
    schedule = ObjectiveConfig(total_steps=TOTAL_STEPS, bootstrap_start=0.2, head_start=0.4)
    net = DynamicsNet(tiny_dynamics())
    return DynamicsObjective(net, TINY_HEADS, schedule, latent_limit=2.0)


def train(folder: Path, num_steps: int, ranks: Ranks, job: str) -> Training:
    kind, _, strategy = job.partition("-")
    around = Surroundings(
        folder=folder, seed=0, ranks=ranks, scaling=SHARDED if strategy == "fsdp" else Scaling()
    )
    optim, rows = OptimConfig(lr=0.01, clip_norm=1e3, schedule="linear"), Rows(ranks)
    training = Training(
        kind=kind,
        state=make_state(
            make_objective(kind), optim, rows, name=kind, num_steps=TOTAL_STEPS, around=around
        ),
        next_batch=rows.next_batch,
        compute_loss=regress if kind == "regression" else dream,
        frames_per_step=NUM_ROWS,
        optim=optim,
        config={},
    )
    checkpoints = CheckpointFolder(path=folder)
    resumed = resume(training, checkpoints, ranks)
    begun = training.state.step if resumed else None
    writer = MetricWriter(folder / "metrics.jsonl", resume_step=begun) if ranks.is_main else None
    config = FitConfig(
        total_steps=num_steps, log_every_steps=1, save_every_steps=3, save_every_s=0.0
    )
    run = partial(fit, training, config, checkpoints=checkpoints, ranks=ranks, audience=Silence())
    run(metrics=writer)
    if writer is not None:
        writer.close()
    return training


def threads_of_group() -> list[str]:
    """Names of this process's threads that serve a process group."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name or "tcpstore" in name]


if __name__ == "__main__":
    torch.set_num_threads(1)
    with setup_ranks("cpu") as joined:
        for name in sys.argv[3:]:
            train(Path(sys.argv[1]) / name, int(sys.argv[2]), joined, name)
    print(*threads_of_group(), sep="\n")
