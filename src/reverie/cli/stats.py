"""``reverie evaluate stats``: what a table of clips says about its predictors."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from reverie.cli.numbers import write_numbers

_ROWS = (
    ("pooled", "pooled"),
    ("within task, mean", "within_task"),
    ("within task, median", "within_task_median"),
    ("tasks that count", "within_task_num_tasks"),
    ("… with the wrong sign", "within_task_wrong_sign_share"),
    ("between tasks", "between_tasks"),
    ("on within-task ranks", "on_task_ranks"),
    ("baseline: task identity", "task_identity"),
)
_PARTS = (
    ("spearman", "Spearman with the rollout gain (good: near −1)"),
    ("auroc_divergence", "AUROC of divergence, gain ≤ 0 dB (good: near 1)"),
    ("auroc_ignored", "AUROC of ignored actions, ratio ≤ 1.1 (good: near 1)"),
)


def stats(
    file: tyro.conf.Positional[Path],
    /,
    *,
    predictors: tuple[str, ...] = (),
    json: Path | None = None,
) -> None:
    """Print how well readings predict error in a CSV of clips, pooled and within tasks.

    The columns are task, action_shuffle_ratio, rollout_psnr_gain_db and the readings; undefined
    cells are written as nan. A task has a number of its own from 12 finite clips on, for AUROC
    also if 10 to 90 % of them are positive; "within task" is the unweighted mean of those.

    Example: reverie evaluate stats clips.csv --json stats.json

    Args:
        file: The CSV; 'reverie evaluate MODEL' writes such a file too.
        predictors: Columns to judge; u_r_norm, u_f_norm and u_s_norm by default.
        json: Also write the numbers to this file.
    """
    from reverie.evaluate.evaluation import plain
    from reverie.evaluate.table import (
        PREDICTORS,
        read_clip_table,
        statistics_numbers,
        table_statistics,
    )

    names = predictors or PREDICTORS
    numbers = statistics_numbers(table_statistics(read_clip_table(file, names), names))
    console = Console()
    print_statistics(console, numbers)
    write_numbers(console, plain(numbers), json)


def print_statistics(console: Console, numbers: Mapping[str, Any]) -> None:
    """Print the statistics of a table: what was counted and dropped, then three tables."""
    rates = numbers["base_rates"]
    console.print(
        f"{numbers['num_rows']} clips of {numbers['num_tasks']} tasks; diverged "
        f"{_percent(rates['divergence'])}, actions ignored {_percent(rates['ignored'])}.",
        highlight=False,
        soft_wrap=True,
    )
    dropped = {name: count for name, count in numbers["num_undefined"].items() if count}
    if dropped:
        columns = ", ".join(f"{name} {count}" for name, count in dropped.items())
        rows = numbers["undefined_rows_by_task"]
        tasks = ", ".join(f"{task} {count}" for task, count in list(rows.items())[:8])
        more = f" and {len(rows) - 8} more tasks" if len(rows) > 8 else ""
        console.print(
            f"[yellow]{sum(rows.values())} clips have undefined numbers and are dropped where "
            f"those are needed.[/] Undefined cells: {columns}. Clips: {tasks}{more}.",
            highlight=False,
            soft_wrap=True,
        )
    for prefix, title in _PARTS:
        console.print(_table(numbers["predictors"], prefix, title))


def _table(predictors: Mapping[str, Mapping[str, Any]], prefix: str, title: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in predictors:
        table.add_column(name, justify="right", no_wrap=True)
    for label, key in _ROWS:
        cells = [_cell(item, f"{prefix}_{key}") for item in predictors.values()]
        table.add_row(label, *cells)
        if any(f"{prefix}_{key}_interval" in item for item in predictors.values()):
            spans = [
                _interval(item.get(f"{prefix}_{key}_interval")) for item in predictors.values()
            ]
            table.add_row("  95 % interval", *spans)
    return table


def _interval(ends: Sequence[float] | None) -> str:
    if ends is None or any(math.isnan(end) for end in ends):
        return "–"
    return f"[{ends[0]:.3f}, {ends[1]:.3f}]"


def _cell(numbers: Mapping[str, Any], key: str) -> str:
    value = numbers[key]
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return "–"
    if key.endswith("share"):
        return _percent(value)
    return f"{value:+.3f}" if key.startswith("spearman") else f"{value:.3f}"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0%}"


COMMANDS = {"stats": stats}
