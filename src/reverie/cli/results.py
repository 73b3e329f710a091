"""The table of an evaluation on the terminal."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from reverie.evaluate.evaluation import MIN_GAIN_DB, MIN_RATIO, MIN_RECONSTRUCTION_DB

_COLUMNS = (
    ("recon.\ndB", "reconstruction_psnr_db", "{:.1f}"),
    ("gain\ndB", "rollout_gain_db", "{:+.2f}"),
    ("ratio\n1 step", "action_shuffle_ratio", "{:.2f}"),
    ("ratio\n4 steps", "action_shuffle_ratio_4_steps", "{:.2f}"),
    ("dream\nfps", "dream_fps", "{:.0f}"),
)
_IS_MET = {
    "reconstruction_psnr_db": lambda value: value >= MIN_RECONSTRUCTION_DB,
    "rollout_gain_db": lambda value: value > MIN_GAIN_DB,
    "action_shuffle_ratio": lambda value: value >= MIN_RATIO,
}


def print_results(console: Console, numbers: Mapping[str, Any]) -> None:
    """Print the main numbers of every task, then what is missed and why."""
    table = Table(
        title="Held-out episodes, measured now",
        caption="gain: dream over a repeated frame · ratio: error under exchanged / true actions",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("task", no_wrap=True)
    for title, _, _ in _COLUMNS:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("clips\n(static)", justify="right", no_wrap=True, min_width=8)
    for task, row in numbers["tasks"].items():
        clips = f"{row['num_clips']} ({row['num_static_clips']})"
        table.add_row(task, *(_cell(row, name, form) for _, name, form in _COLUMNS), clips)
    table.add_section()
    table.add_row("mean", *(_cell(numbers["mean"], name, form) for _, name, form in _COLUMNS), "")
    console.print(table)
    for task, texts in numbers["misses"].items():
        console.print(f"[yellow]{task}[/]: {'; '.join(texts)}", highlight=False, soft_wrap=True)


def _cell(row: Mapping[str, Any], name: str, form: str) -> str:
    value = row.get(name)
    if value is None:
        return "–"
    text = form.format(value)
    if name not in _IS_MET:
        return text
    return f"[green]{text}[/]" if _IS_MET[name](value) else f"[red]{text}[/]"
