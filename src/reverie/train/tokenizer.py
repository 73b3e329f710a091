"""Phase 1: a tokenizer learns to paint back the frames of a store, and its latents are measured."""

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from reverie.core.config import added
from reverie.core.errors import ConfigError
from reverie.core.seeds import child_seed
from reverie.data.latents import FrameCache
from reverie.data.resident import resident_frames
from reverie.data.sampling import Balance, SamplerConfig, WindowSampler
from reverie.data.store import EpisodeStore
from reverie.data.windows import WindowList, WindowRef, list_windows
from reverie.models.objective import LossReport
from reverie.models.perceptual import PerceptualConfig, load_perceptual
from reverie.models.tokenizer.objective import TokenizerObjective
from reverie.parallel.memory import fits_beside_training
from reverie.parallel.precision import Precision, autocast
from reverie.train.loop import FitConfig, Hook, Training
from reverie.train.optim import OptimConfig
from reverie.train.phase import (
    LossBalance,
    PhaseFolder,
    Surroundings,
    check_weights,
    each_after_main,
    main_first,
    make_sampler,
    make_state,
    run_fit,
)
from reverie.train.state import TrainState

_NUM_MEASURED_BATCHES = 64
_MEASURED_BATCH_SIZE = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerTrainingConfig:
    """How a tokenizer is trained; the defaults suit ``conv`` at 64x64 on two CPU cores."""

    fit: FitConfig = FitConfig(total_steps=24_000, save_every_steps=0, log_every_steps=200)
    optim: OptimConfig = OptimConfig(lr=2e-3, schedule="linear", warmup_share=0.005, floor=0.02)
    """Linear decay to 2 %: short runs end on a settled tokenizer."""
    batch_size: int = 16
    """Windows per step, divided among the ranks."""
    window_length: int = 1
    """Frames per window; 1 is enough for a tokenizer that looks at single frames."""
    latent_noise: float = 0.05
    """Std of the noise that the decoder learns to forgive."""
    task_weights: dict[str, float] = field(default_factory=dict)
    """How often each task is drawn, relative to the others; empty draws all tasks alike. Tasks
    that look alike need less each, thin moving shapes need more."""
    weights_file: str | None = None
    """Weights of tasks or episodes, as ``reverie data weights`` writes; instead of
    ``task_weights``."""
    strategy: Balance = added("tasks")
    """What balances the tasks where no weights are given; see ``data.sampling.Balance``."""
    precision: Precision = added("float32")
    """``auto`` multiplies matrices in bfloat16 where the hardware does so natively."""

    perceptual: PerceptualConfig = added(PerceptualConfig())
    """What the loss has beside the squared error; nothing by default."""

    @property
    def longest(self) -> int:
        """Frames of the longest windows."""
        return self.window_length

    def __post_init__(self) -> None:
        """Refuse empty batches."""
        check_weights(self.task_weights, self.weights_file, self.strategy)
        if self.batch_size < 1 or self.window_length < 1:
            raise ConfigError(
                f"batch_size and window_length must be at least 1, got {self.batch_size} and "
                f"{self.window_length}."
            )


def train_tokenizer(
    tokenizer: nn.Module,
    store: EpisodeStore,
    config: TokenizerTrainingConfig,
    *,
    folder: PhaseFolder,
    around: Surroundings,
    hooks: Sequence[Hook] = (),
    sets_scale: bool = True,
) -> nn.Module:
    """Train a tokenizer on a store, set its scale, and return it frozen; resumes by itself.

    Args:
        tokenizer: Freshly made; trained in place.
        store: Where the frames come from.
        config: How.
        folder: Where the phase keeps its files.
        around: Seed, ranks, audience.
        hooks: Evaluations, called with the averaged weights in place.
        sets_scale: Whether latents are brought to unit std, or scaled as they came.
    """
    main_first(around.ranks, folder.claim)
    if folder.done is None:
        training = prepare_tokenizer(
            tokenizer,
            store,
            config,
            cache_path=folder.path / "frames",
            run_config=folder.config,
            around=around,
        )
        run_fit(training, config.fit, folder=folder, around=around, hooks=hooks)
        training.state.keep_average()
        facts = {"trained_s": training.state.elapsed_s}
        if sets_scale:
            cache = FrameCache.build(store, folder.path / "frames")
            facts["latent_std"] = measure_latent_std(
                tokenizer, store, cache, window_length=config.window_length, seed=around.seed
            )
            tokenizer.set_scale(facts["latent_std"])  # type: ignore[operator]
        main_first(around.ranks, lambda: folder.finish(facts, tokenizer))
    if around.ranks.is_main:
        shutil.rmtree(folder.path / "frames", ignore_errors=True)
    folder.load_result(tokenizer, what="tokenizer")
    return tokenizer.eval().requires_grad_(False)


def prepare_tokenizer(
    tokenizer: nn.Module,
    store: EpisodeStore,
    config: TokenizerTrainingConfig,
    *,
    cache_path: Path,
    run_config: dict[str, Any],
    around: Surroundings,
) -> Training:
    """Put objective, optimiser, sampler and generator together, at step 0.

    Args:
        tokenizer: Freshly made.
        store: Where the frames come from.
        config: How it will be trained.
        cache_path: Where decoded frames are kept: training would wait for the codec.
        run_config: What checkpoints record.
        around: Seed and ranks.
    """
    ranks = around.ranks
    objective = TokenizerObjective(
        tokenizer,
        latent_noise=config.latent_noise,
        perceptual=load_perceptual(config.perceptual, device=ranks.device),
    )
    windows = list_windows(store.index, config.window_length)
    balance = LossBalance.of_windows(windows, config.strategy, ranks.device)
    task_of = {entry.id: entry.task for entry in store.index}
    sampler = _make_sampler(windows, config, cache_path.parent, around)
    cache = each_after_main(ranks, lambda: FrameCache.build(store, cache_path))
    read = _make_reader(store, cache, ranks.device)

    def next_batch() -> tuple[Tensor, Tensor | None]:
        refs = sampler.next_batch()
        return read(refs), balance.of([task_of[ref.episode_id] for ref in refs])

    def compute_loss(wrapped: nn.Module, drawn: Any, state: TrainState) -> LossReport:
        frames, row_weights = drawn
        with autocast(ranks.device, config.precision):
            return wrapped(frames, rng=state.rng, row_weights=row_weights)

    return Training(
        kind="tokenizer",
        state=make_state(
            objective,
            config.optim,
            sampler,
            name="tokenizer",
            num_steps=config.fit.total_steps,
            around=around,
        ),
        next_batch=next_batch,
        compute_loss=compute_loss,
        frames_per_step=config.batch_size * config.window_length,
        optim=config.optim,
        config=run_config,
    )


def _make_sampler(
    windows: WindowList, config: TokenizerTrainingConfig, folder: Path, around: Surroundings
) -> WindowSampler:
    return make_sampler(
        windows,
        config.task_weights,
        folder,
        weights_file=config.weights_file,
        balance=config.strategy,
        batch_size=config.batch_size,
        seed=child_seed(around.seed, "tokenizer", "windows"),
        ranks=around.ranks,
    )


@torch.no_grad()
def measure_latent_std(
    tokenizer: nn.Module, store: EpisodeStore, cache: FrameCache, *, window_length: int, seed: int
) -> float:
    """Return the std of raw latents over frames drawn from the training set, tasks alike.

    The dynamics sees latents divided by it: noise has std 1, so data must have it too. Windows are
    as long as in training: a tokenizer that looks back makes other latents of a lone frame.
    """
    config = SamplerConfig(
        batch_size=_MEASURED_BATCH_SIZE, seed=child_seed(seed, "tokenizer", "scale")
    )
    sampler = WindowSampler(list_windows(store.index, window_length), config)
    device = next(tokenizer.parameters()).device
    raw = torch.cat(
        [
            tokenizer.embed(_read(cache, sampler.next_batch()).to(device)).float().cpu()  # type: ignore[operator]
            for _ in range(_NUM_MEASURED_BATCHES)
        ]
    )
    return float(raw.double().std())


def _make_reader(
    store: EpisodeStore, cache: FrameCache, device: torch.device
) -> Callable[[Sequence[WindowRef]], UInt8[Tensor, "b t h w 3"]]:
    """Read frames from disk, or from the device where all of them fit there."""
    if fits_beside_training(store.num_frames * math.prod(store.frame_spec.shape), device):
        return resident_frames(store, cache, device)
    return lambda refs: _read(cache, refs).to(device)


def _read(cache: FrameCache, refs: Sequence[WindowRef]) -> UInt8[Tensor, "b t h w 3"]:
    return torch.from_numpy(np.stack([cache.read(ref) for ref in refs]))
