"""``reverie evaluate tokenizers``: tokenizers side by side, ours and those off the shelf."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from reverie.cli.numbers import write_numbers

if TYPE_CHECKING:
    from reverie.models.perceptual import PerceptualConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Videos:
    """What the tokenizers are shown."""

    num_episodes: int = 4
    """Episodes per task."""
    num_videos: int = 8
    """Videos per task that are cut from them."""
    num_frames: int = 17
    """Frames of a video; 1 plus a multiple of 8 suits all."""
    side_px: int = 224
    """Side of the frames for tokenizers off the shelf, where episodes are played live."""


def tokenizers(
    names: tyro.conf.Positional[tuple[str, ...]] = ("pocket",),
    /,
    *,
    tasks: tuple[str, ...] = (),
    data: Path | None = None,
    videos: tyro.conf.OmitArgPrefixes[Videos] = Videos(),
    lpips: tuple[Path, Path] | None = None,
    device: str = "cpu",
    out: Path = Path("runs/tokenizers"),
    json: Path | None = None,
) -> None:
    """Compare tokenizers: PSNR for each domain, numbers a frame, speed, and LPIPS with its files.

    Ours are named like any model. Off the shelf (SD-VAE, Cosmos CV 8x8x8, Wan 2.1, DC-AE; needs the
    extra 'diffusers') give a folder with config.json and safetensors, or sd-vae, cosmos, wan or
    dc-ae with @ and a whole commit of its repository on the Hub.

    Example: reverie evaluate tokenizers pocket downloads/sd-vae --tasks pygame-pong

    Args:
        names: Models of ours, and tokenizers off the shelf.
        tasks: Tasks to show; by default those of the store or of the first model of ours.
        data: An episode store to read from; by default episodes are played live.
        videos: What they are shown.
        lpips: Two files of LPIPS on AlexNet, trunk and heads; see docs/tokenizers.md.
        device: Where they run: cpu or cuda.
        out: Folder for tokenizers.json and tokenizers.md.
        json: Also write the numbers to this file.
    """
    from reverie.evaluate.tokenizers import table
    from reverie.parallel.device import choose_device
    from reverie.recipes.tokenizers import TokenizerComparison, compare_tokenizers

    console = Console()
    with console.status("loading") as status:
        rows = compare_tokenizers(
            TokenizerComparison(
                tokenizers=names,
                tasks=tasks,
                data=data,
                **asdict(videos),
                lpips=_lpips(lpips),
                device=str(choose_device(device)),
            ),
            out,
            say=status.update,
        )
    _show(console, table(rows))
    console.print(
        "PSNR in dB, also of frames encoded alone; numbers that stand for a frame; frames a second."
    )
    if lpips is None:
        console.print("LPIPS is not measured: its weights were not named (--lpips).")
    console.print(f"Table: {out / 'tokenizers.md'}", soft_wrap=True)
    write_numbers(console, rows, json)


def _lpips(files: tuple[Path, Path] | None) -> "PerceptualConfig":
    from reverie.models.perceptual import PerceptualConfig

    if files is None:
        return PerceptualConfig()
    trunk, heads = map(str, files)
    return PerceptualConfig(kind="lpips-alex", trunk_file=trunk, heads_file=heads)


def _show(console: Console, cells: list[list[str]]) -> None:
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    shown.add_column()
    for title in cells[0][1:]:
        # A word a line: ten columns fit 80 characters.
        shown.add_column(title.replace(" ", "\n"), justify="right")
    for row in cells[1:]:
        shown.add_row(*row)
    console.print(shown)


COMMANDS = {"tokenizers": tokenizers}
