"""Trains a small regression as one of several ranks; a process that torchrun starts in tests.

Run as ``python -m tests.support.rank_process FOLDER BATCH_SIZE NUM_STEPS``. The loss draws no
randomness of its own, so two ranks with half the batch must do what one process does with all of
it. Part of the module joins late, as the heads of the dynamics do.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reverie.models.objective import LossReport, RunningRms
from reverie.parallel.checkpoint import CheckpointFolder
from reverie.parallel.ranks import Ranks, setup_ranks
from reverie.train.loop import FitConfig, Training, fit, resume
from reverie.train.optim import OptimConfig, make_optimizer
from reverie.train.progress import Silence
from reverie.train.state import Average, TrainState

LATE_STEP = 2


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 2))
        self.late = nn.Linear(3, 2)
        self.rms = RunningRms()

    def forward(self, inputs: Tensor, *, step: int) -> LossReport:
        out = self.net(inputs) + (self.late(inputs) if step >= LATE_STEP else 0.0)
        loss = (out - inputs[:, :2] ** 2).square().mean()
        return LossReport(self.rms(loss), {"mse": loss.detach()})


@dataclass(slots=True)
class Rows:
    """Rows of the joined batch that belong to one rank."""

    batch_size: int
    ranks: Ranks
    step: int = 0

    def next_batch(self) -> Tensor:
        rng = torch.Generator().manual_seed(self.step)
        self.step += 1
        whole = torch.randn(self.batch_size * self.ranks.num_ranks, 3, generator=rng)
        begin = self.ranks.rank * self.batch_size
        return whole[begin : begin + self.batch_size]

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]


def train(folder: Path, batch_size: int, num_steps: int, ranks: Ranks) -> None:
    torch.manual_seed(0)
    objective = Regression()
    optim = OptimConfig(lr=0.01, clip_norm=1e3)
    rows = Rows(batch_size, ranks)
    training = Training(
        kind="regression",
        state=TrainState(
            objective=objective,
            average=Average(objective),
            optimizer=make_optimizer(objective, optim),
            rng=torch.Generator().manual_seed(ranks.rank),
            sampler=rows,
        ),
        next_batch=rows.next_batch,
        compute_loss=lambda wrapped, batch, state: wrapped(batch, step=state.step),
        frames_per_step=batch_size,
        optim=optim,
        config={},
    )
    checkpoints = CheckpointFolder(path=folder)
    resume(training, checkpoints, ranks)
    fit(
        training,
        FitConfig(total_steps=num_steps, save_every_steps=3, save_every_s=0.0),
        checkpoints=checkpoints,
        metrics=None,
        ranks=ranks,
        audience=Silence(),
    )


def threads_of_group() -> list[str]:
    """Names of this process's threads that serve a process group."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name or "tcpstore" in name]


if __name__ == "__main__":
    torch.set_num_threads(1)
    with setup_ranks("cpu") as joined:
        train(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), joined)
    print(*threads_of_group(), sep="\n")
