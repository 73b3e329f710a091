"""What one generation of CMA-ES costs: all dreams in one batch against one process per rollout.

The same model, controllers, starts and noise on both sides; the returns are compared. The
one-process side is timed on a sample of the rollouts, as many at once as there are cores, and
scaled up; a pool of processes that live on, one rollout at a time, is timed beside it.

    python benchmarks/dream_es.py --json dream_es.json
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from reverie.core.batch import Batch
from reverie.models.classic.controller import ControllerConfig, act
from reverie.models.classic.disk import load_classic_world, save_classic_world
from reverie.models.classic.mdn_rnn import MdnRnn, MdnRnnConfig
from reverie.models.classic.vae import Vae, VaeConfig
from reverie.models.classic.world import ClassicConfig, ClassicState, ClassicWorld
from reverie.models.load import read_manifest_values
from reverie.planning.imagine import ImagineConfig, imagine

NUM_CANDIDATES, NUM_STARTS = 64, 16
TASK = "cartpole-v1-close"
TOLERANCE = 1e-3
NOISE_SEED = 11


def main() -> None:
    """Measure and print a table; write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--horizon", type=int, default=100, help="steps of a dream")
    parser.add_argument("--sample", type=int, default=16, help="rollouts with a process each")
    parser.add_argument("--repeats", type=int, default=3, help="timed generations of the batch")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        save_classic_world(Path(folder), make_world())
        numbers = measure(Path(folder), options.horizon, options.sample, options.repeats)
    table = Table("", "one batch", "process per rollout", "living processes")
    for row in ("seconds_per_generation", "ratio"):
        cells = [numbers[kind][row] for kind in ("batch", "fresh", "pool")]
        table.add_row(row, *(f"{value:.4g}" for value in cells))
    Console().print(table)
    Console().print(f"largest difference of a return: {numbers['largest_difference']:.2e}")
    if options.json is not None:
        options.json.write_text(json.dumps(numbers, indent=1))


def measure(folder: Path, horizon: int, sample: int, repeats: int) -> dict[str, Any]:
    """Time all three ways on the same generation.

    Raises:
        SystemExit: The returns differ.
    """
    world, controller, parameters = load(folder)
    starts = make_starts(world)
    dream = ImagineConfig(horizon=horizon)
    seconds: list[float] = []
    batch = torch.zeros(NUM_STARTS, NUM_CANDIDATES)
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        noise = torch.Generator().manual_seed(NOISE_SEED)
        batch = imagine(world, starts, controller, parameters, dream, noise).returns
        seconds.append(time.perf_counter() - begun)
    whole_s = float(np.median(seconds[1:]))
    rng = np.random.default_rng(0)
    places = rng.choice(NUM_STARTS * NUM_CANDIDATES, size=sample, replace=False)
    jobs = [
        (str(folder), int(p) // NUM_CANDIDATES, int(p) % NUM_CANDIDATES, horizon) for p in places
    ]
    scale = NUM_STARTS * NUM_CANDIDATES / sample
    numbers: dict[str, Any] = {
        "candidates": NUM_CANDIDATES,
        "starts": NUM_STARTS,
        "horizon": horizon,
        "sampled_rollouts": sample,
        "cores": os.cpu_count(),
        "batch": {"seconds_per_generation": whole_s, "ratio": 1.0},
    }
    largest = 0.0
    for name, tasks_per_process in (("fresh", 1), ("pool", None)):
        with crew(tasks_per_process) as run:
            if tasks_per_process is None:
                # Starting up is what living processes save; it is not timed.
                run(jobs[: 2 * (os.cpu_count() or 1)])
            begun = time.perf_counter()
            found = run(jobs)
            taken = (time.perf_counter() - begun) * scale
        wanted = [float(batch[start, candidate]) for _, start, candidate, _ in jobs]
        largest = max(largest, float(np.abs(np.subtract(found, wanted)).max()))
        numbers[name] = {"seconds_per_generation": taken, "ratio": taken / whole_s}
    numbers["largest_difference"] = largest
    if largest > TOLERANCE:
        raise SystemExit(f"The returns differ by {largest:.2e}: the two sides do not do the same.")
    return numbers


@contextmanager
def crew(tasks_per_process: int | None) -> Iterator[Callable[[list[Any]], list[float]]]:
    """Run rollouts in processes, each of which plays so many."""
    with ProcessPoolExecutor(
        max_workers=os.cpu_count(),
        mp_context=multiprocessing.get_context("spawn"),
        max_tasks_per_child=tasks_per_process,
    ) as pool:
        yield lambda jobs: list(pool.map(one_rollout, jobs))


def one_rollout(job: tuple[str, int, int, int]) -> float:
    """Dream one candidate from one start, as a process of its own would."""
    folder, start, candidate, horizon = job
    torch.set_num_threads(1)
    world, controller, parameters = load(Path(folder))
    state: Any = make_starts(world).select([start])
    noises = torch.Generator().manual_seed(NOISE_SEED)
    alive, total = torch.ones(1), torch.zeros(1)
    for _ in range(horizon):
        action = act(controller, parameters[[candidate]], world.features(state)[None])[0]
        drawn = world.draw_noise(NUM_STARTS, noises)
        noise = type(drawn)(start=drawn.start[[start]], commit=drawn.commit[[start]])
        state, prediction = world.step(state, action, noise)
        alive = alive * prediction.continues
        total += alive * prediction.reward
    return float(total[0])


@cache
def load(folder: Path) -> tuple[ClassicWorld, ControllerConfig, Tensor]:
    """Read the model and make the generation's candidates."""
    world = load_classic_world(folder, read_manifest_values(folder))
    controller = ControllerConfig(num_features=world.num_features, action_map="binary")
    rng = torch.Generator().manual_seed(5)
    return world, controller, torch.randn(NUM_CANDIDATES, controller.num_parameters, generator=rng)


def make_world() -> ClassicWorld:
    """Build the CartPole sizes of the specification, untrained: speed does not depend on it."""
    torch.manual_seed(3)
    rnn = MdnRnnConfig(
        latent_channels=64,
        action_width=1,
        num_units=256,
        num_components=1,
        has_end=True,
        has_reward=True,
        is_binary_action=True,
    )
    dream = ClassicConfig(tasks=(TASK,), terminating_tasks=(TASK,))
    return ClassicWorld(Vae(VaeConfig(latent_channels=64)), MdnRnn(rnn), dream).eval()


def make_starts(world: ClassicWorld) -> ClassicState:
    """Begin the dreams from noise pictures; the same ones for every process."""
    rng = torch.Generator().manual_seed(7)
    shape = (NUM_STARTS, 1, *world.tokenizer.frame_spec.shape)
    zeros = torch.zeros(NUM_STARTS, 1)
    context = Batch(
        frames=torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8),
        prev_actions=zeros[..., None],
        prev_rewards=zeros,
        action_mask=torch.ones(NUM_STARTS, 1),
        is_first=torch.ones(NUM_STARTS, 1, dtype=torch.bool),
        is_terminal=torch.zeros(NUM_STARTS, 1, dtype=torch.bool),
        task=(TASK,) * NUM_STARTS,
    )
    return world.start(context, world.draw_context_noise(NUM_STARTS, 1, rng))


if __name__ == "__main__":
    main()
