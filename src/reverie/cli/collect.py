"""The command ``reverie collect``."""

import os
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from reverie.collect.collector import CollectStatus
from reverie.collect.collector import collect as run_order
from reverie.collect.order import CollectOrder
from reverie.core.errors import ConfigError
from reverie.core.types import NATIVE_FRAME_PX, FrameSpec


def collect(
    tasks: tuple[str, ...],
    /,
    *,
    out: Path = Path("data/episodes"),
    policies: tuple[str, ...] = ("mixed",),
    episodes: int = 10,
    size_px: int = NATIVE_FRAME_PX,
    codec: str = "webp",
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Play tasks with chosen behaviours and store the episodes.

    Stop it whenever you like: the same command goes on where it stopped, and nothing is stored
    twice. Behaviours: random, noop, held, noise-gaussian, noise-ou, noise-mixture, noise (one of
    these three per episode), expert, transformed-expert, and mixed, which switches between them
    within an episode and is the best single choice for training.

    Example: reverie collect pygame-pong pygame-reacher-easy --episodes 50 --size-px 64

    Args:
        tasks: Names of tasks; 'reverie tasks list' shows all.
        out: Folder of the store; made if it is not there.
        policies: Behaviours, with a weight where the shares differ: random=1 expert=3.
        episodes: Episodes per task. Raise it later to add more.
        size_px: Side of the frames.
        codec: webp is the smaller, zstd the faster (for scratch data).
        seed: The root of all randomness; another seed gives other episodes.
        workers: Processes, by default one per CPU core; 0 plays in this one.
    """
    order = CollectOrder(
        tasks=tasks,
        policies=parse_policies(policies),
        episodes_per_task=episodes,
        seed=seed,
        frame=FrameSpec(height_px=size_px, width_px=size_px),
        codec=codec,
    )
    status = _run_with_bar(order, out, (os.cpu_count() or 1) if workers is None else workers)
    Console().print(
        f"{out}: {status.num_done} of {status.num_ordered} episodes; {status.num_collected} new "
        f"({status.num_frames} frames in {status.seconds:.1f} s, "
        f"{status.frames_per_s:.0f} frames/s), {status.num_found} were there."
    )


def parse_policies(words: tuple[str, ...]) -> dict[str, float]:
    """Read ``("random", "expert=3")`` as weights; a word without a number weighs 1."""
    weights: dict[str, float] = {}
    for word in words:
        name, _, number = word.partition("=")
        try:
            weight = float(number) if number else 1.0
        except ValueError as error:
            raise ConfigError(
                f"A policy is a name or name=weight, got '{word}'. Write for example expert=3."
            ) from error
        if name in weights:
            raise ConfigError(f"Policy '{name}' is named twice. Give it one weight.")
        weights[name] = weight
    return weights


def _run_with_bar(order: CollectOrder, out: Path, num_workers: int) -> CollectStatus:
    columns = (
        TextColumn("collecting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("episodes · {task.fields[rate]:.0f} frames/s ·"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console()) as bar:
        line = bar.add_task("collect", total=None, rate=0.0)

        def show(status: CollectStatus) -> None:
            bar.update(
                line,
                total=status.num_ordered,
                completed=status.num_done,
                rate=status.frames_per_s,
            )

        return run_order(order, out, num_workers=num_workers, progress=show)
