"""Runs many tasks in processes of their own, one simulator each, and keeps count of all of them."""

import logging
import multiprocessing
import os
import queue
import resource
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from reverie.core.errors import MissingAssetError, MissingDriverError, MissingExtraError
from reverie.core.seeds import numpy_rng
from reverie.core.types import DEFAULT_QUALITY, FrameSpec, RenderQuality
from reverie.envs.checks import TaskCheck, check_task
from reverie.envs.registry import make_env, task_names, task_spec

logger = logging.getLogger(__name__)

Status = Literal["ok", "failed", "needs asset", "needs extra", "needs driver"]
GROUP_SIZE = 8
"""Tasks of one simulator that one process runs; then its memory goes back to the system."""
GALLERY_STEPS = 5
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "LP_NUM_THREADS": "1"}
"""For workers, of which there are as many as cores already."""
_HUNG = (
    "It gave no answer within {limit_s:.0f} s, so its process was ended. Check it alone; if it "
    "hangs again, its simulator or the driver that draws it does not work on this machine."
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TaskOutcome:
    """What became of one task."""

    task: str
    status: Status
    message: str = ""
    """What is wrong or missing, with what to do; empty if nothing is."""
    check: TaskCheck | None = None
    frame: UInt8[np.ndarray, "h w 3"] | None = None
    """A picture from the middle of an episode, where one was asked for."""
    peak_mb: float = 0.0
    """Largest memory so far of the process that ran it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SurveyConfig:
    """How each task is run."""

    frame: FrameSpec = FrameSpec()
    quality: RenderQuality = DEFAULT_QUALITY
    num_steps: int | None = 50
    """Steps per task; None plays whole episodes."""
    seed: int = 0
    wants_pictures: bool = False
    """Only play on and keep a picture, instead of checking."""
    limit_s: float = 900.0
    """Time for one task, start included; then its process is ended and the task has failed. Far
    more than any task takes on a busy machine: simulators have been seen to hang."""


def benchmark_names() -> tuple[str, ...]:
    """Return the benchmark's tasks and the four classics: all but what is ours alone."""
    specs = map(task_spec, task_names())
    return tuple(spec.name for spec in specs if spec.split != "extra" or spec.domain == "classics")


def survey(
    names: Sequence[str], config: SurveyConfig, *, num_workers: int = 2
) -> Iterator[TaskOutcome]:
    """Run tasks and yield what became of each, in the order in which they end.

    A process that dies fails the task it was at; the others of its group go on in a new one.

    Args:
        names: Tasks; every one is yielded exactly once.
        config: How each is run.
        num_workers: Processes at a time.
    """
    groups: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()
    outcomes: queue.SimpleQueue[TaskOutcome] = queue.SimpleQueue()
    # Sorting is stable: neighbours in a table stay neighbours.
    for _, members in groupby(sorted(names, key=_domain), key=_domain):
        domain_names = tuple(members)
        for first in range(0, len(domain_names), GROUP_SIZE):
            groups.put(domain_names[first : first + GROUP_SIZE])
    stop = threading.Event()
    threads = [
        threading.Thread(target=_run_groups, args=(groups, outcomes.put, config, stop), daemon=True)
        for _ in range(max(num_workers, 1))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in names:
            yield outcomes.get()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def run_one(name: str, config: SurveyConfig) -> TaskOutcome:
    """Run one task in this process; whatever goes wrong is in the outcome."""
    try:
        if config.wants_pictures:
            outcome = TaskOutcome(task=name, status="ok", frame=picture_of(name, config))
        else:
            check = check_task(
                name,
                frame_spec=config.frame,
                quality=config.quality,
                seed=config.seed,
                num_steps=config.num_steps,
            )
            status: Status = "failed" if check.problems else "ok"
            message = " ".join(check.problems)
            outcome = TaskOutcome(task=name, status=status, message=message, check=check)
    except MissingAssetError as error:
        outcome = TaskOutcome(task=name, status="needs asset", message=str(error))
    except MissingExtraError as error:
        outcome = TaskOutcome(task=name, status="needs extra", message=str(error))
    except MissingDriverError as error:
        outcome = TaskOutcome(task=name, status="needs driver", message=str(error))
    except Exception as error:  # noqa: BLE001 - the edge of a process: a simulator may raise anything
        logger.debug("%s", traceback.format_exc())
        text = f"{type(error).__name__}: {error}"
        outcome = TaskOutcome(task=name, status="failed", message=text)
    return replace(outcome, peak_mb=peak_memory_mb())


def peak_memory_mb() -> float:
    """Return the most memory that this program has held at once.

    Not ``ru_maxrss`` where it can be helped: Linux counts into it what the parent held when it
    forked, before this program took the process over.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / 1024


def picture_of(name: str, config: SurveyConfig) -> UInt8[np.ndarray, "h w 3"]:
    """Return a frame some random steps into an episode."""
    env = make_env(name, frame_spec=config.frame, quality=config.quality)
    try:
        frame = env.reset(config.seed)
        rng = numpy_rng(config.seed, "gallery", name)
        for _ in range(GALLERY_STEPS):
            action = rng.uniform(-1.0, 1.0, env.spec.action.width).astype(np.float32)
            result = env.step(action)
            if result.terminated or result.truncated:
                break
            frame = result.frame
        return frame
    finally:
        env.close()


def _domain(name: str) -> str:
    spec = task_spec(name)
    # Tasks of one domain may come from several simulators, which the extra tells apart.
    return f"{spec.domain} {spec.extra}"


def _run_groups(
    groups: "queue.SimpleQueue[tuple[str, ...]]",
    tell: Callable[[TaskOutcome], None],
    config: SurveyConfig,
    stop: threading.Event,
) -> None:
    while not stop.is_set():
        try:
            left = groups.get_nowait()
        except queue.Empty:
            return
        while left and not stop.is_set():
            left = _run_group(left, tell, config, stop)


def _run_group(
    names: tuple[str, ...],
    tell: Callable[[TaskOutcome], None],
    config: SurveyConfig,
    stop: threading.Event,
) -> tuple[str, ...]:
    """Run tasks in one new process; return those that it did not come to."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve_group, args=(theirs, names, config), daemon=True)
    process.start()
    theirs.close()
    left = list(names)
    deadline = time.monotonic() + config.limit_s
    try:
        while left and not stop.is_set() and time.monotonic() < deadline:
            if not mine.poll(0.2):
                continue
            outcome: TaskOutcome = mine.recv()
            left.remove(outcome.task)
            tell(outcome)
            deadline = time.monotonic() + config.limit_s
        if left and not stop.is_set():
            process.kill()
            tell(_failed(left.pop(0), _HUNG.format(limit_s=config.limit_s)))
    except (EOFError, ConnectionError):
        process.join()
        tell(_failed(left.pop(0), f"Its process died with exit code {process.exitcode}."))
    finally:
        mine.close()
        if stop.is_set():
            process.kill()
        process.join()
    return tuple(left)


def _failed(task: str, message: str) -> TaskOutcome:
    return TaskOutcome(task=task, status="failed", message=message)


def _serve_group(connection: Connection, names: tuple[str, ...], config: SurveyConfig) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update({name: os.environ.get(name, value) for name, value in _ONE_THREAD.items()})
    for name in names:
        connection.send(run_one(name, config))
    connection.close()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def summary(outcomes: Sequence[TaskOutcome]) -> dict[str, Any]:
    """Return the counts and the lists of what did not run, JSON-compatible. Nothing is left out."""
    by_status: dict[str, list[TaskOutcome]] = {}
    for outcome in sorted(outcomes, key=lambda item: item.task):
        by_status.setdefault(outcome.status, []).append(outcome)
    assets = [
        {"task": item.task, "fetch": task_spec(item.task).assets or item.message}
        for item in by_status.get("needs asset", [])
    ]
    lacking = {
        key: [{"task": item.task, "message": item.message} for item in by_status.get(status, [])]
        for key, status in (
            ("failed", "failed"),
            ("needs_extra", "needs extra"),
            ("needs_driver", "needs driver"),
        )
    }
    return {
        "registered": len(outcomes),
        "ok": len(by_status.get("ok", [])),
        **lacking,
        "needs_assets": assets,
        "peak_mb": _peaks(outcomes),
    }


def _peaks(outcomes: Sequence[TaskOutcome]) -> dict[str, float]:
    peaks: dict[str, float] = {}
    for outcome in outcomes:
        domain = task_spec(outcome.task).domain
        peaks[domain] = max(peaks.get(domain, 0.0), round(outcome.peak_mb, 1))
    return dict(sorted(peaks.items()))
