"""Trains the tiny tokenizer in processes that tests may kill.

Run as ``python -m tests.support.training_process STORE``. For every line ``FOLDER TOTAL_STEPS`` on
its input it forks a process that trains, so that torch is imported only once; it prints ``process
PID`` and, when that process is over, ``ended CODE``. The training prints one line ``saved N`` per
checkpoint, after the checkpoint is on the disk, and ``digest D`` at the end.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from reverie.data.store import EpisodeStore
from reverie.parallel.checkpoint import CheckpointFolder
from reverie.parallel.checks import tensors_digest
from reverie.parallel.ranks import Ranks
from reverie.train.loop import TrainingStoppedError, fit, resume
from reverie.train.progress import Progress
from tests.support.tiny_training import make_training, quick_fit

SAVE_EVERY = 2


class Reporter:
    def __init__(self) -> None:
        self.step = 0

    def say(self, text: str) -> None:
        if ": saved step " in text:
            print(f"saved {text.split(': saved step ')[1].split()[0]}", flush=True)

    def show(self, progress: Progress) -> None:
        self.step = progress.done


def train(store: Path, folder: Path, total_steps: int) -> None:
    torch.set_num_threads(1)
    training = make_training("tokenizer", EpisodeStore.open(store), folder, total_steps=total_steps)
    checkpoints = CheckpointFolder(path=folder / "checkpoints")
    resume(training, checkpoints, Ranks())
    print(f"begins {training.state.step}", flush=True)
    try:
        fit(
            training,
            replace(quick_fit(total_steps), save_every_steps=SAVE_EVERY),
            checkpoints=checkpoints,
            metrics=None,
            ranks=Ranks(),
            audience=Reporter(),
        )
    except TrainingStoppedError as stopped:
        print(f"stopped {stopped}", flush=True)
    digest = tensors_digest(training.state.objective.state_dict()).hex()
    print(f"digest {digest}", flush=True)


def serve(store: Path) -> None:
    for line in sys.stdin:
        folder, total_steps = line.split()
        pid = os.fork()
        if pid == 0:
            train(store, Path(folder), int(total_steps))
            os._exit(0)
        print(f"process {pid}", flush=True)
        _, status = os.waitpid(pid, 0)
        print(f"ended {status}", flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
