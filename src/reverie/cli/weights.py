"""``reverie data weights``: how often training draws each task or episode."""

from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.table import Table


def weights(
    store: tyro.conf.Positional[Path],
    /,
    *,
    strategy: Literal["uniform", "frames", "targeted", "novelty"] = "uniform",
    targeted: tuple[str, ...] = (),
    alpha: float = 0.5,
    model: str = "pocket",
    out: Path = Path("weights.json"),
) -> None:
    """Write how often each task or episode is drawn, as a file that any training run takes.

    Example: reverie data weights data/episodes --strategy targeted --targeted pygame-pong

    Args:
        store: The episode store that will be learned from.
        strategy: ``uniform`` over tasks, ``frames`` as many as there are, ``targeted`` gives some
            tasks a share of alpha together, ``novelty`` also draws rare episodes of a task more.
        targeted: Tasks that get the share alpha.
        alpha: That share.
        model: Model whose latents say what is rare; only for ``novelty``.
        out: The file; train with --set dynamics_training.weights_file=FILE.
    """
    from reverie.recipes.weights import WeightsOrder, make_weights

    made = make_weights(
        store, WeightsOrder(strategy=strategy, targeted=targeted, alpha=alpha, model=model)
    )
    made.write(out)
    console = Console()
    table = Table(title=f"Shares of draws, {strategy}")
    for name in ("task", "windows", "drawn uniformly over windows", "drawn now"):
        table.add_column(name, justify="left" if name == "task" else "right")
    for task, count in made.counts.items():
        shares = (made.frame_shares[task], made.task_shares[task])
        table.add_row(task, str(count), *(f"{share:.2%}" for share in shares))
    console.print(table)
    console.print(
        f"Weighting the loss to the same end would leave {made.loss_effective_share:.1%} of a "
        f"batch's effective size. Weights: {out}",
        highlight=False,
        soft_wrap=True,
    )


COMMANDS = {"weights": weights}
