"""The command ``reverie tasks experts``."""

from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reverie.collect.policies import make_policy
from reverie.core.errors import (
    ConfigError,
    MissingAssetError,
    MissingDriverError,
    MissingExtraError,
)
from reverie.core.files import write_json
from reverie.envs.experts import has_expert
from reverie.envs.registry import task_names, task_spec
from reverie.evaluate.experts import ExpertMeasure, measure_expert

BASELINE = "random"
COLUMNS = ("task", "expert", BASELINE, "difference, 95 %", "solved at some step")


def measure_experts(
    tasks: tuple[str, ...] = (),
    /,
    *,
    domain: str | None = None,
    episodes: int = 10,
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Measure scripted experts: normalised score beside uniform noise from the same starts.

    The interval is a bootstrap over episodes of the mean difference; an expert whose interval lies
    above zero is better than noise. No pictures are drawn where the simulator is a foreign one.

    Example: reverie tasks experts og-point-maze --episodes 4

    Args:
        tasks: Names of tasks; none measures every task that has an expert.
        domain: Only tasks of this simulator.
        episodes: Episodes of each behaviour per task.
        seed: Seed of the starts and of the noise.
        json: Also write the numbers to this file.
    """
    if episodes < 2:
        raise ConfigError(f"An interval needs at least two episodes, got --episodes {episodes}.")
    names = tasks or tuple(name for name in task_names() if has_expert(name))
    chosen = [name for name in names if domain is None or task_spec(name).domain == domain]
    table = Table(*COLUMNS, title="Experts", title_justify="left", box=None, padding=(0, 1))
    measures: list[ExpertMeasure] = []
    for name in chosen:
        try:
            baseline = make_policy(BASELINE)
            one = measure_expert(name, baseline=baseline, num_episodes=episodes, seed=seed)
        except (MissingAssetError, MissingDriverError, MissingExtraError) as error:
            table.add_row(name, escape(str(error)))
            continue
        measures.append(one)
        table.add_row(name, *_cells(one))
    console = Console()
    console.print(table)
    better = sum(one.is_better for one in measures)
    console.print(f"{better} of {len(measures)} experts are above noise with their whole interval.")
    if json is not None:
        write_json(json, {one.task: asdict(one) for one in measures})


def _cells(one: ExpertMeasure) -> tuple[str, ...]:
    difference = one.expert_score - one.baseline_score
    interval = f"{difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"
    means = f"{one.expert_score:.3f}", f"{one.baseline_score:.3f}"
    return (*means, interval, f"{one.success_share:.0%}")


COMMANDS = {"experts": measure_experts}
