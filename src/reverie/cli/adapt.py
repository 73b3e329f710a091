"""``reverie adapt``: a model meets a new task."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from reverie.cli.train import EXIT_INTERRUPTED, Terminal, parse_settings


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptMachine:
    """What adapting may use of the machine."""

    num_workers: int = 2
    """Processes that play."""
    threads: int = 0
    """CPU threads of the training; 0 leaves it to torch."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU if there is one."""


def adapt(
    *,
    task: str,
    model: str = "pocket",
    episodes: int = 50,
    policy: str = "curiosity",
    name: str = "",
    settings: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="PATH=VALUE")] = (),
    runs: Path = Path("runs"),
    machine: tyro.conf.OmitArgPrefixes[AdaptMachine] = AdaptMachine(),  # noqa: B008
) -> int:
    """Teach a model a task: collect where it dreams badly, finetune, collect again.

    The same command goes on after any interruption; no episode is lost. The model lies in
    RUNS/NAME/round-N/model, its report beside it, live readings in RUNS/NAME/readings.

    Example: reverie adapt --task pygame-air-hockey --model pocket --episodes 50

    Args:
        task: The new task.
        model: Name of a shipped model, or the path of a model folder.
        episodes: Episodes of the task, over all rounds.
        policy: curiosity, any behaviour of 'reverie collect', or all (four of them in turn).
        name: Of the run; adapt-TASK-POLICY by default.
        settings: Fields of the order to change, by dotted path: num_rounds, replay_episodes,
            explore.curiosity.gauge, explore.curiosity.plan.horizon, explore.seed, language.source,
            finetune.tokenizer_training.fit.total_steps …
        runs: Folder of all runs.
        machine: What to run on.
    """
    import torch

    from reverie.core.config import override
    from reverie.models.load import resolve_model
    from reverie.parallel.device import choose_device
    from reverie.parallel.ranks import Ranks
    from reverie.recipes.adapt import cpu_order, run_adapt
    from reverie.train.loop import TrainingStoppedError
    from reverie.train.phase import Surroundings

    order = override(cpu_order(task, episodes, policy), parse_settings(settings))
    if machine.threads:
        torch.set_num_threads(machine.threads)
    folder = runs / (name or f"adapt-{task}-{policy}")
    with Terminal() as terminal:
        around = Surroundings(
            folder=folder,
            seed=order.explore.seed,
            ranks=Ranks(device=choose_device(machine.device)),
            audience=terminal,
        )
        try:
            numbers = run_adapt(
                resolve_model(model), order, around, num_workers=machine.num_workers
            )
        except TrainingStoppedError as stopped:
            terminal.say(str(stopped))
            return EXIT_INTERRUPTED
    _print_rounds(numbers["rounds"])
    return 0


def _print_rounds(rounds: list[dict[str, Any]]) -> None:
    console = Console()
    names = ("reconstruction_psnr_db", "rollout_gain_db", "action_shuffle_ratio")
    for index, measured in enumerate(rounds):
        for watched, values in measured.items():
            shown = "  ".join(f"{key} {_written(values[key])}" for key in names)
            name = "before" if index == 0 else f"round {index - 1}"
            console.print(f"{name:8} {watched:28} {shown}", highlight=False, soft_wrap=True)


def _written(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, (int, float)) else "–"
