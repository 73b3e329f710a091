"""Does the offline perceptual term help a small tokenizer? PSNR with and without it, same steps.

Collects episodes of two games, trains the pocket tokenizer with each loss under several seeds, and
measures held-out frames: PSNR of whole frames, and PSNR of the pixels that changed since the frame
before, where the small moving things are.

    python benchmarks/perceptual.py --seeds 3 --steps 800
    python benchmarks/perceptual.py --seeds 3 --steps 1320 --losses mse

The second command gives the squared error alone as much computing as the first gives the pyramid.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from reverie.collect.collector import collect
from reverie.collect.order import CollectOrder
from reverie.core.seeds import child_seed
from reverie.core.types import FrameSpec
from reverie.data.store import EpisodeStore
from reverie.models.perceptual import PerceptualConfig, load_perceptual
from reverie.models.tokenizer.conv import ConvTokenizer, ConvTokenizerConfig
from reverie.train.loop import FitConfig
from reverie.train.optim import OptimConfig
from reverie.train.phase import PhaseFolder, Surroundings
from reverie.train.tokenizer import TokenizerTrainingConfig, train_tokenizer

TASKS = ("pygame-point-maze-var1", "pygame-pong")
FRAME = FrameSpec(height_px=64, width_px=64)
NUM_HELD_OUT = 384
LOSSES = {
    "mse": PerceptualConfig(),
    "mse + 0.2 pyramid": PerceptualConfig(kind="pyramid"),
    "mse + 1.0 pyramid": PerceptualConfig(kind="pyramid", weight=1.0),
}


def main() -> None:
    """Train, measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--losses", nargs="*", choices=tuple(LOSSES), default=tuple(LOSSES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None, help="write the numbers here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        stores = [_collected(root / part, part) for part in ("train", "held-out")]
        held_out = _pairs(stores[1])
        rows: dict[str, list[dict[str, float]]] = {loss: [] for loss in arguments.losses}
        for seed in range(arguments.seeds):
            for loss, found in rows.items():
                found.append(_trained(root, stores[0], loss, seed, arguments.steps, held_out))
                if arguments.json is not None:
                    content = vars(arguments) | rows
                    arguments.json.write_text(json.dumps(content, default=str, indent=1) + "\n")
    _show(rows)


def _collected(path: Path, part: str) -> EpisodeStore:
    order = CollectOrder(
        tasks=TASKS,
        policies={"mixed": 1.0, "noise": 1.0},
        episodes_per_task=40 if part == "train" else 8,
        frame=FRAME,
        seed=child_seed(0, part),
        codec="zstd",
        step_limits=(48,),
    )
    collect(order, path, num_workers=0)
    return EpisodeStore.open(path)


def _pairs(store: EpisodeStore) -> tuple[Tensor, Tensor]:
    """Return held-out frames and where each differs from the frame before."""
    frames, moved = [], []
    for entry in store.index:
        shown = store.read_episode(entry.id).frames
        frames.append(shown[1:])
        moved.append((shown[1:] != shown[:-1]).any(axis=-1))
    chosen = np.linspace(0, sum(map(len, frames)) - 1, NUM_HELD_OUT).astype(int)
    return (
        torch.from_numpy(np.concatenate(frames)[chosen]),
        torch.from_numpy(np.concatenate(moved)[chosen]),
    )


def _trained(
    root: Path,
    store: EpisodeStore,
    loss: str,
    seed: int,
    steps: int,
    held_out: tuple[Tensor, Tensor],
) -> dict[str, float]:
    config = TokenizerTrainingConfig(
        fit=FitConfig(total_steps=steps, save_every_steps=0, log_every_steps=steps),
        optim=OptimConfig(lr=2e-3, schedule="linear", warmup_share=0.02, floor=0.02),
        perceptual=LOSSES[loss],
    )
    torch.manual_seed(seed)
    folder = PhaseFolder(path=root / f"{loss}-{seed}", config={"seed": seed})
    begun = time.process_time()
    tokenizer: Any = train_tokenizer(
        ConvTokenizer(ConvTokenizerConfig()),
        store,
        config,
        folder=folder,
        around=Surroundings(folder=root, seed=seed),
    )
    cpu_s = time.process_time() - begun
    return _measured(tokenizer, *held_out) | {"cpu_s": cpu_s}


@torch.inference_mode()
def _measured(tokenizer: Any, frames: Tensor, moved: Tensor) -> dict[str, float]:
    shown, _ = tokenizer.decode(tokenizer.encode(frames[:, None])[0])
    truth, painted = (x.permute(0, 3, 1, 2).float() / 255 for x in (frames, shown[:, 0]))
    error = (truth - painted).square().mean(dim=1)
    pyramid = load_perceptual(PerceptualConfig(kind="pyramid"))
    assert pyramid is not None
    return {
        "psnr_db": _psnr(error.mean()),
        "moving_psnr_db": _psnr(error[moved].mean()),
        "pyramid_not_lpips": float(pyramid.distance(painted, truth).mean()),
    }


def _psnr(mse: Tensor) -> float:
    return float(-10 * torch.log10(mse))


def _show(rows: dict[str, list[dict[str, float]]]) -> None:
    names = list(next(iter(rows.values()))[0])
    table = Table("loss", *names, title="Held-out frames; mean over seeds [smallest, largest]")
    for loss, found in rows.items():
        columns = (np.array([row[name] for row in found]) for name in names)
        table.add_row(loss, *(f"{c.mean():.3g} [{c.min():.3g}, {c.max():.3g}]" for c in columns))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
