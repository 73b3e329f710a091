"""A tiny model that adapts to a toy task in seconds; also a process that tests may kill.

Run as ``python -m tests.support.tiny_adapt MODEL``. For every line ``FOLDER NUM_EVENTS`` on its
input it forks a process that adapts and kills itself (SIGKILL) after so many events, 0 never; it
prints ``ended STATUS`` when that process is over.
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

from reverie.collect.curiosity import CuriosityConfig
from reverie.evaluate.action_following import FollowingConfig
from reverie.evaluate.evaluation import EvaluationConfig
from reverie.evaluate.live import LiveConfig
from reverie.planning.optimisers import SearchConfig
from reverie.planning.plan import PlanConfig
from reverie.recipes.adapt import AdaptOrder, run_adapt
from reverie.recipes.evaluation import EvaluationOrder
from reverie.recipes.explore import ExploreConfig
from reverie.recipes.finetune import FinetuneConfig
from reverie.train.loop import FitConfig
from reverie.train.phase import Surroundings
from reverie.train.progress import Progress

NEW_TASK, KNOWN_TASK = "toy-fall", "toy-paint"
TINY_PLAN = PlanConfig(
    horizon=4,
    num_executed=4,
    num_dreams=1,
    num_finalists=1,
    search=SearchConfig(num_candidates=3, num_elites=2, num_iterations=1),
)
TINY_STUDY_PLAN = replace(TINY_PLAN, horizon=2, num_executed=2)


def tiny_order() -> AdaptOrder:
    fit = FitConfig(total_steps=2, log_every_steps=1, save_every_steps=1)
    plain = FinetuneConfig()
    return AdaptOrder(
        explore=ExploreConfig(
            task=NEW_TASK,
            curiosity=CuriosityConfig(plan=TINY_PLAN),
            max_steps=12,
            num_flow_steps=1,
        ),
        num_episodes=4,
        num_rounds=2,
        num_warmup=1,
        replay_episodes=2,
        finetune=FinetuneConfig(
            tokenizer_training=replace(plain.tokenizer_training, fit=fit, batch_size=2),
            objective=replace(plain.objective, total_steps=2),
            dynamics_training=replace(
                plain.dynamics_training,
                fit=fit,
                batch_size=4,
                window_length=9,
                precision="float32",
            ),
        ),
        evaluation=EvaluationOrder(
            live=LiveConfig(num_episodes=2, max_steps=30, num_probes=2),
            evaluation=EvaluationConfig(
                clips_per_episode=1, following=FollowingConfig(variants=("zero",))
            ),
            behaviour="noop",
            has_single_substep=False,
        ),
        num_watched=0,
    )


class Mortal:
    """An audience that ends its process after so many events."""

    def __init__(self, num_events: int) -> None:
        self.left = num_events

    def say(self, text: str) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def show(self, progress: Progress) -> None:
        self.say(progress.phase)


def serve(model: Path) -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        folder, num_events = line.split()
        pid = os.fork()
        if pid == 0:
            around = Surroundings(folder=Path(folder), seed=0, audience=Mortal(int(num_events)))
            run_adapt(model, tiny_order(), around, num_workers=0)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print(f"ended {status}", flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
