"""Phase 2: latents are cached once, then the dynamics network and its heads learn from them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reverie.core.config import added
from reverie.core.errors import ConfigError
from reverie.core.seeds import child_seed
from reverie.data.latents import LatentCache
from reverie.data.lengths import MixedLengths
from reverie.data.loader import LoadedBatch, WindowReader
from reverie.data.resident import ResidentReader
from reverie.data.sampling import Balance, WindowSampler
from reverie.data.store import EpisodeStore
from reverie.data.windows import WindowList, list_windows
from reverie.models.dynamics.net import DynamicsConfig
from reverie.models.dynamics.objective import DynamicsObjective
from reverie.models.load import weights_hash
from reverie.models.objective import LossReport
from reverie.parallel.memory import fits_beside_training
from reverie.parallel.precision import Precision, autocast
from reverie.train.loop import FitConfig, Hook, Training
from reverie.train.optim import OptimConfig
from reverie.train.phase import (
    LossBalance,
    PhaseFolder,
    Surroundings,
    check_weights,
    main_first,
    make_sampler,
    make_state,
    run_fit,
)
from reverie.train.progress import Progress
from reverie.train.state import TrainState

_ENCODE_CHUNK = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class DynamicsTrainingConfig:
    """How the dynamics network is trained; the defaults suit ``pocket`` on two CPU cores."""

    fit: FitConfig = FitConfig(total_steps=7000, log_every_steps=50, save_every_steps=0)
    optim: OptimConfig = OptimConfig(lr=1e-3)
    batch_size: int = 16
    """Windows per step, divided among the ranks."""
    window_length: int = 12
    """Frames per window; longer than the context, so that windows that have slid are trained."""
    long_length: int = added(0)
    """Frames of the longer windows that some batches have instead; 0: all have one length."""
    long_share: float = added(0.1)
    """Share of the batches that are long (public runs: 0.1)."""
    long_tail: float = added(0.1)
    """Share of the run, at its end, in which all batches are long."""
    task_weights: dict[str, float] = field(default_factory=dict)
    """How often each task is drawn, relative to the others; empty draws all tasks alike."""
    weights_file: str | None = None
    """Weights of tasks or episodes, as ``reverie data weights`` writes; instead of
    ``task_weights``."""
    strategy: Balance = added("tasks")
    """What balances the tasks where no weights are given; see ``data.sampling.Balance``."""
    precision: Precision = "float32"
    """``auto`` doubles the speed on CPUs and GPUs with bfloat16 instructions."""

    def __post_init__(self) -> None:
        """Refuse windows that cannot teach anything."""
        check_weights(self.task_weights, self.weights_file, self.strategy)
        if self.batch_size < 1 or self.window_length < 2:  # noqa: PLR2004
            raise ConfigError(
                f"Dynamics needs batch_size >= 1 and window_length >= 2, got {self.batch_size} "
                f"and {self.window_length}."
            )
        if self.long_length and self.long_length <= self.window_length:
            raise ConfigError(
                f"long_length must exceed window_length ({self.window_length}) or be 0, got "
                f"{self.long_length}. Try {4 * self.window_length}."
            )
        if not 0 <= self.long_share <= 1 or not 0 <= self.long_tail <= 1:
            raise ConfigError(
                f"long_share and long_tail are shares from 0 to 1, got {self.long_share} and "
                f"{self.long_tail}. Try 0.1."
            )

    @property
    def longest(self) -> int:
        """Frames of the longest windows."""
        return max(self.window_length, self.long_length)

    @property
    def long_batch_size(self) -> int:
        """Windows of a long batch: about as many frames as in a short one."""
        return max(1, self.batch_size * self.window_length // max(1, self.long_length))


def train_dynamics(
    objective: DynamicsObjective,
    store: EpisodeStore,
    latents: LatentCache,
    config: DynamicsTrainingConfig,
    *,
    folder: PhaseFolder,
    around: Surroundings,
    hooks: Sequence[Hook] = (),
) -> DynamicsObjective:
    """Train network and heads, and return them with averaged weights, frozen; resumes by itself.

    Args:
        objective: Freshly made; trained in place.
        store: Where the actions and rewards come from.
        latents: What the frozen tokenizer made of the frames.
        config: How.
        folder: Where the phase keeps its files.
        around: Seed, ranks, audience.
        hooks: Evaluations, called with the averaged weights in place.
    """
    main_first(around.ranks, folder.claim)
    if folder.done is None:
        training = prepare_dynamics(
            objective, store, latents, config, run_config=folder.config, around=around
        )
        run_fit(training, config.fit, folder=folder, around=around, hooks=hooks)
        training.state.keep_average()
        facts = {"trained_s": training.state.elapsed_s}
        main_first(around.ranks, lambda: folder.finish(facts, objective))
    folder.load_result(objective, what="dynamics")
    objective.eval().requires_grad_(False)
    return objective


def prepare_dynamics(
    objective: DynamicsObjective,
    store: EpisodeStore,
    latents: LatentCache,
    config: DynamicsTrainingConfig,
    *,
    run_config: dict[str, Any],
    around: Surroundings,
) -> Training:
    """Put objective, optimiser, sampler and generator together, at step 0.

    Parts of the objective that need no gradient stay as they are.
    """
    ranks, net_config = around.ranks, objective.net.config
    if config.longest <= net_config.context:
        raise ConfigError(
            f"window_length must exceed the context of {net_config.context} frames, got "
            f"{config.longest}: a window that has slid would never be trained. Try "
            f"{net_config.context + net_config.context // 2}."
        )
    windows = list_windows(store.index, config.window_length)
    sampler = _make_sampler(windows, store, config, around)
    balance = LossBalance.of_windows(windows, config.strategy, ranks.device)
    reader = _make_reader(store, latents, net_config, ranks.device)

    def compute_loss(wrapped: nn.Module, loaded: LoadedBatch, state: TrainState) -> LossReport:
        assert loaded.latents is not None, "the reader was given no latent cache"
        batch = loaded.batch.to(ranks.device)
        with autocast(ranks.device, config.precision):
            return wrapped(
                loaded.latents.to(ranks.device),
                batch,
                step=state.step,
                rng=state.rng,
                row_weights=balance.of(batch.task),
            )

    return Training(
        kind="dynamics",
        state=make_state(
            objective,
            config.optim,
            sampler,
            name="dynamics",
            num_steps=config.fit.total_steps,
            around=around,
        ),
        next_batch=lambda: reader.read(sampler.next_batch()),
        compute_loss=compute_loss,
        frames_per_step=config.batch_size * config.window_length,
        optim=config.optim,
        config=run_config,
    )


def _make_sampler(
    short_windows: WindowList,
    store: EpisodeStore,
    config: DynamicsTrainingConfig,
    around: Surroundings,
) -> WindowSampler | MixedLengths:
    def of(windows: WindowList, batch_size: int, *names: str) -> WindowSampler:
        absent = sorted({entry.task for entry in store.index} - set(windows.tasks))
        if absent:
            around.audience.say(
                f"dynamics: no windows of {windows.length} frames in {', '.join(absent)}"
            )
        return make_sampler(
            windows,
            {name: value for name, value in config.task_weights.items() if name not in absent},
            around.folder,
            weights_file=config.weights_file,
            balance=config.strategy,
            batch_size=batch_size,
            seed=child_seed(around.seed, "dynamics", "windows", *names),
            ranks=around.ranks,
        )

    short = of(short_windows, config.batch_size)
    if not config.long_length:
        return short
    return MixedLengths(
        short,
        of(list_windows(store.index, config.long_length), config.long_batch_size, "long"),
        long_share=config.long_share,
        first_all_long=round((1 - config.long_tail) * config.fit.total_steps),
        seed=child_seed(around.seed, "dynamics", "lengths"),
    )


def _make_reader(
    store: EpisodeStore, latents: LatentCache, config: DynamicsConfig, device: torch.device
) -> WindowReader | ResidentReader:
    """Read windows from disk, or from the device where everything fits there."""
    latent_bytes = 2 * config.num_latent_tokens * config.num_latent_channels
    lane_bytes = 4 * config.action_width + 4 + 2
    if fits_beside_training(store.num_frames * (latent_bytes + lane_bytes), device):
        return ResidentReader(store, latents, action_width=config.action_width, device=device)
    return WindowReader(
        store=store, action_width=config.action_width, latents=latents, use_frames=False
    )


def cache_latents(
    tokenizer: nn.Module, store: EpisodeStore, path: Path, *, around: Surroundings
) -> LatentCache:
    """Encode every frame of a store once; an interrupted build goes on.

    Args:
        tokenizer: Trained and frozen; its hash keys the cache.
        store: Whose frames.
        path: Folder of the cache.
        around: Ranks and audience.
    """
    device = next(tokenizer.parameters()).device
    key = weights_hash(tokenizer)

    def encode(frames: Any) -> torch.Tensor:
        pieces, state = [], None
        for chunk in torch.from_numpy(frames)[None].split(_ENCODE_CHUNK, dim=1):
            latents, state = tokenizer.encode(chunk.to(device), state)  # type: ignore[operator]
            pieces.append(latents[0].cpu())
        return torch.cat(pieces)

    def show(done: int, total: int) -> None:
        around.audience.show(Progress(phase="latents", done=done, total=total, unit="frames"))

    def build() -> None:
        LatentCache.build(store, path, encode, key, show)

    main_first(around.ranks, build)
    return LatentCache.open(store, path, key)
