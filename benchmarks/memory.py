"""How much memory a worker of a collection holds at most, one task a process, against a budget.

Every task runs in a new process that does what a worker does: it plays two short episodes of noise
at 224x224 and stores them. The budgets are the peaks of bare simulators at that size, measured
when their versions were chosen, plus a fifth.

    python benchmarks/memory.py --json memory.json
"""

import argparse
import json
import multiprocessing
import os
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from reverie.collect.order import OrderItem
from reverie.collect.worker import ItemPlayer
from reverie.core.types import FrameSpec
from reverie.data.store import EpisodeStore
from reverie.envs.registry import task_spec
from reverie.envs.survey import peak_memory_mb

SIMULATOR_MB = {
    "miniarcade": 70.0,
    "atari": 70.0,
    "box2d": 70.0,
    "mujoco": 184.0,
    "ogbench": 200.0,
    "dmcontrol": 256.0,
    "dmcontrol-ext": 256.0,
    "metaworld": 315.0,
    "robodesk": 355.0,
    "maniskill": 880.0,
    "VizdoomTakeCover-v1": 70.0,
    "procgen-coinrun": 448.0,
}
"""Peak of a bare simulator with its picture, by domain or task."""
ALLOWANCE = 1.2
TASKS = (
    "pygame-coconut-dodge",
    "atari-pong",
    "lunarlander-land",
    "mujoco-ant",
    "og-ant-maze",
    "quadruped-walk",
    "giraffe-run",
    "mw-assembly",
    "rd-open-drawer",
    "ms-stack-cube",
    "VizdoomTakeCover-v1",
    "procgen-coinrun",
)
"""One task for each domain, with more bodies or pictures than most of it."""
NUM_EPISODES, NUM_STEPS = 2, 6


def main() -> None:
    """Measure each task, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--json", type=Path, default=None, help="write the numbers here")
    arguments = parser.parse_args()
    os.environ.setdefault("LP_NUM_THREADS", "1")
    console = Console()
    rows: list[dict[str, Any]] = []
    for task in arguments.tasks:
        try:
            rows.append(measure(task))
            console.print(f"{task}: {rows[-1]['peak_mb']:.0f} MB")
        except RuntimeError as error:
            console.print(f"{task}: not run: {error}")
        if arguments.json is not None:  # after every task: a stop loses one at most
            arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    console.print(to_table(rows))


def measure(task: str) -> dict[str, Any]:
    """Let a worker of its own play a task.

    Raises:
        RuntimeError: It could not; the text says why.
    """
    spec = task_spec(task)
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=play, args=(theirs, task))
    process.start()
    theirs.close()
    try:
        peak_mb, problem = mine.recv()
    except EOFError as error:
        raise RuntimeError("its process died") from error
    finally:
        process.join()
    if problem:
        raise RuntimeError(problem)
    simulator_mb = SIMULATOR_MB.get(task, SIMULATOR_MB.get(spec.domain, float("nan")))
    return {
        "task": task,
        "domain": spec.domain,
        "peak_mb": peak_mb,
        "budget_mb": ALLOWANCE * simulator_mb,
        "is_within": peak_mb <= ALLOWANCE * simulator_mb,
    }


def play(connection: Connection, task: str) -> None:
    """Do a worker's work, then send the peak and what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        player = ItemPlayer(EpisodeStore.create(Path(folder) / "store", FrameSpec()))
        problem = ""
        for index in range(NUM_EPISODES):
            item = OrderItem(
                task=task, policy="random", index=index, seed=index, max_steps=NUM_STEPS
            )
            result = player.play(item)
            problem = problem or str(result.error or result.trace)
        connection.send((peak_memory_mb(), problem))
        player.close()


def to_table(rows: list[dict[str, Any]]) -> Table:
    """Lay the numbers out for people."""
    table = Table(title="Peak memory of a worker, MB", title_justify="left")
    for column in ("domain", "task", "peak", "budget", "within"):
        table.add_column(column)
    for row in rows:
        numbers = f"{row['peak_mb']:.0f}", f"{row['budget_mb']:.0f}"
        table.add_row(row["domain"], row["task"], *numbers, "yes" if row["is_within"] else "no")
    return table


if __name__ == "__main__":
    main()
