"""The command ``reverie collect``."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from reverie.collect.collector import CollectStatus
from reverie.collect.collector import collect as run_order
from reverie.collect.crew import MakeCrew
from reverie.collect.order import CollectOrder
from reverie.collect.processes import ProcessCrew
from reverie.collect.ray_crew import LOCAL, RayCrew
from reverie.core.errors import ConfigError
from reverie.core.types import DEFAULT_QUALITY, NATIVE_FRAME_PX, FrameSpec, RenderQuality


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """How frames are drawn and kept."""

    size_px: int = NATIVE_FRAME_PX
    """Side of the frames."""
    codec: str = "webp"
    """webp is the smaller, zstd the faster (for scratch data)."""
    quality: RenderQuality = DEFAULT_QUALITY
    """How MuJoCo tasks are drawn: fast is cheap, fast2x smooth, release as the benchmark released
    them. Other simulators have one look only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CrewChoice:
    """Who plays."""

    workers: int | None = None
    """How many play at once. Default: one per CPU core. 0 plays in this process."""
    backend: Literal["processes", "ray"] = "processes"
    """processes of this machine, or ray (extra 'ray') for actors on a cluster, whose machines must
    share the folder of the store."""
    ray_address: str | None = None
    """The cluster: auto, or host:port. Default: Ray is started here and ended again."""


def collect(
    tasks: tuple[str, ...],
    /,
    *,
    out: Path = Path("data/episodes"),
    policies: tuple[str, ...] = ("mixed",),
    episodes: int = 10,
    seed: int = 0,
    pictures: tyro.conf.OmitArgPrefixes[Pictures] = Pictures(),  # noqa: B008 - frozen
    crew: tyro.conf.OmitArgPrefixes[CrewChoice] = CrewChoice(),  # noqa: B008 - frozen
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
        seed: The root of all randomness; another seed gives other episodes.
        pictures: How frames are drawn and kept.
        crew: Who plays.
    """
    order = CollectOrder(
        tasks=tasks,
        policies=parse_policies(policies),
        episodes_per_task=episodes,
        seed=seed,
        frame=FrameSpec(height_px=pictures.size_px, width_px=pictures.size_px),
        codec=pictures.codec,
        quality=pictures.quality,
    )
    status = _run_with_bar(order, out, crew)
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


def choose_crew(choice: CrewChoice) -> MakeCrew:
    """Return what makes the workers."""
    if choice.backend == "ray":
        return partial(RayCrew, address=choice.ray_address or LOCAL)
    if choice.ray_address is not None:
        raise ConfigError(
            f"--ray-address {choice.ray_address} is for --backend ray, got --backend "
            f"{choice.backend}."
        )
    return ProcessCrew


def _run_with_bar(order: CollectOrder, out: Path, crew: CrewChoice) -> CollectStatus:
    make_crew = choose_crew(crew)
    num_workers = (os.cpu_count() or 1) if crew.workers is None else crew.workers
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

        return run_order(order, out, num_workers=num_workers, progress=show, make_crew=make_crew)
