"""``reverie train``: run a recipe from nothing, or go on where it stopped."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from reverie.core.config import override, to_dict
from reverie.core.errors import ConfigError
from reverie.recipes.registry import load_recipe, load_runner
from reverie.train.loop import TrainingStoppedError
from reverie.train.progress import Progress

if TYPE_CHECKING:
    from reverie.parallel.shard import Scaling
    from reverie.recipes.base import RunConfig

EXIT_INTERRUPTED = 130
_PLAIN_EVERY_S = 15.0
_WORTH_SHOWING = (
    *("loss", "psnr_db", "flow", "finest_mse", "kl_nats", "nll", "end"),
    *("dream_return", "real_return"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What a run may use of the machine; none of it changes what is trained."""

    num_workers: int = 2
    """Processes that collect; 0 collects in this one."""
    device: str = "auto"
    """'auto' takes a GPU if there is one; 'cpu' or 'cuda' force it."""
    threads: int = 0
    """CPU threads of the training; 0 leaves it to torch."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Several processes (torchrun): 'ddp' copies the model to each, 'fsdp' cuts it into slices."""
    save_memory: bool = False
    """Recompute activations in the backward pass: slower, far less memory."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the layers with torch.compile, which takes a minute or more at the beginning and half
    off every step after it; 'auto' does so on a CPU with a C++ compiler if the run is long."""

    @property
    def scaling(self) -> "Scaling":
        """How a training is spread over the machine."""
        from reverie.parallel.shard import Scaling

        return Scaling(strategy=self.parallel, saves_memory=self.save_memory, compiles=self.compile)


def train(
    recipe: tyro.conf.Positional[str],
    *,
    name: str = "",
    tasks: tuple[str, ...] = (),
    settings: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="PATH=VALUE")] = (),
    runs: Path = Path("runs"),
    machine: tyro.conf.OmitArgPrefixes[Machine] = Machine(),
    dry_run: bool = False,
) -> int:
    """Train a model with a recipe; the same command goes on where it stopped.

    The recipe collects its own data, trains the parts of a model, evaluates them and writes a
    playable model to RUNS/NAME/model. Ctrl-C saves first. Nothing is lost if the machine
    goes down: at most a minute is repeated.

    Examples: 'reverie train pocket' takes about 35 minutes on two CPU cores; 'reverie train
    pocket-debug' proves in seconds that everything works; 'reverie train pocket --name small
    --set dynamics.context=4 seed=1 --dry-run' prints what it would do.

    Args:
        recipe: Its name: pocket, domains, small, full, release, cartpole-dream, or one + -debug.
        name: Name of the run; the recipe's by default. Another name begins another run.
        tasks: Tasks to learn instead of the recipe's own; 'reverie tasks list' shows all.
        settings: Fields of the config to change, by dotted path; --dry-run lists them all.
        runs: Folder of all runs.
        machine: What to run on.
        dry_run: Print the whole config and, on the standard error, what the run would cost.
    """
    from reverie.recipes.base import RunConfig

    config = override(load_recipe(recipe)(tasks), parse_settings(settings))
    check, run = load_runner(config)
    check(config)
    if dry_run:
        print(json.dumps(to_dict(config), indent=1))
        if isinstance(config, RunConfig):
            print_cost(config, machine.device)
        return 0
    import torch

    from reverie.parallel.ranks import setup_ranks
    from reverie.train.phase import Surroundings

    if machine.threads:
        torch.set_num_threads(machine.threads)
    with setup_ranks(machine.device) as ranks, Terminal(is_quiet=not ranks.is_main) as terminal:
        around = Surroundings(
            folder=runs / (name or recipe),
            seed=config.seed,
            ranks=ranks,
            scaling=machine.scaling,
            audience=terminal,
        )
        try:
            run(config, around, num_workers=machine.num_workers)
        except TrainingStoppedError as stopped:
            terminal.say(str(stopped))
            return EXIT_INTERRUPTED
    return 0


def print_cost(config: "RunConfig", device: str) -> None:
    """Print what a run would cost, on the standard error: the config goes to the output."""
    from reverie.parallel.device import choose_device
    from reverie.recipes.cost import estimate

    cost = estimate(config, choose_device(device))
    table = Table("training", "parameters", "GFLOP/frame", "memory", "frames/s here", "time here")
    for phase in cost.phases:
        table.add_row(
            phase.name,
            f"{phase.parameters:,}",
            f"{phase.flops_per_frame / 1e9:,.2f}",
            f"{phase.state_gb:,.2f} GB",
            f"{phase.frames_per_s:,.3g}",
            f"{phase.hours:,.1f} h",
        )
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(table)
    console.print(
        "Memory: weights, gradients, optimiser and averages; activations come on top. Speed: of "
        "one small batch just now, so a busy machine looks slow."
    )
    console.print(
        f"Up to {cost.data_frames:,} frames of data, {cost.disk_gb:,.1f} GB of disk; about "
        f"{cost.hours:,.1f} hours of training as one process on {cost.device}."
    )


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """Split ``path=value`` words; values are JSON where they can be, else text."""
    parsed: dict[str, Any] = {}
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals or not path:
            raise ConfigError(
                f"--set takes PATH=VALUE, got '{setting}'. Try --set seed=1 or "
                f"--set dynamics_training.optim.lr=5e-4."
            )
        try:
            parsed[path] = json.loads(value)
        except json.JSONDecodeError:
            parsed[path] = value
    return parsed


class Terminal:
    """Shows a run on the terminal: sentences stay, the progress line redraws itself."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        """Prepare; on anything but a terminal, progress becomes a line now and then.

        Args:
            is_quiet: Show nothing, as every rank but the first does.
        """
        self._console = Console(quiet=is_quiet, highlight=False, soft_wrap=True, file=sys.stdout)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._last_plain = 0.0

    def __enter__(self) -> "Terminal":
        """Begin to draw."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the progress line away."""
        if self._console.is_terminal:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a sentence above the progress line."""
        self._console.print(Text(text))
        self._console.file.flush()

    def show(self, progress: Progress) -> None:
        """Redraw the progress line."""
        line = progress_line(progress)
        if self._console.is_terminal:
            self._live.update(Text(line), refresh=True)
            return
        now = time.monotonic()
        if now - self._last_plain >= _PLAIN_EVERY_S or progress.done == progress.total:
            self._last_plain = now
            self.say(line)


def progress_line(progress: Progress) -> str:
    """Write progress as one line: how far, how fast, how long still, and the main readings."""
    share = progress.done / progress.total if progress.total else 1.0
    parts = [f"{progress.phase} {progress.done}/{progress.total} {progress.unit} ({share:.0%})"]
    parts += [f"{rate:,.4g} {unit}/s" for unit, rate in progress.rates.items()]
    if progress.left_s is not None:
        parts.append(f"{_duration(progress.left_s)} left")
    parts += [
        f"{name} {progress.values[name]:.4g}" for name in _WORTH_SHOWING if name in progress.values
    ]
    return " · ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
