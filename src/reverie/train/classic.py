"""V and M of the classic family, trained by the one loop: V on frames, M on latents."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from reverie.core.batch import Batch
from reverie.core.errors import ConfigError
from reverie.core.seeds import child_seed, numpy_rng
from reverie.data.latents import FrameCache, LatentCache
from reverie.data.store import EpisodeStore
from reverie.data.windows import WindowRef, to_batch
from reverie.models.classic.mdn_rnn import MdnRnn
from reverie.models.classic.objective import (
    LatentWindows,
    MdnRnnObjective,
    MdnRnnObjectiveConfig,
    VaeObjective,
    VaeObjectiveConfig,
)
from reverie.models.classic.vae import Vae
from reverie.models.load import weights_hash
from reverie.models.objective import LossReport
from reverie.train.loop import FitConfig, Hook, Training
from reverie.train.optim import OptimConfig
from reverie.train.phase import PhaseFolder, Surroundings, main_first, make_state, run_fit
from reverie.train.progress import Progress
from reverie.train.state import TrainState

_ENCODE_CHUNK = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeTrainingConfig:
    """How V is trained."""

    fit: FitConfig
    optim: OptimConfig = OptimConfig(lr=1e-3, schedule="linear", warmup_share=0.05, floor=0.02)
    objective: VaeObjectiveConfig = VaeObjectiveConfig()
    batch_size: int = 128
    """Stacks of frames per step."""
    newest_share: float = 0.0
    """Share of every batch that comes from the newest episodes, where there are several rounds."""
    num_component_stacks: int = 4000
    """Stacks that the components of a V that has them are computed from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RnnTrainingConfig:
    """How M is trained."""

    fit: FitConfig
    optim: OptimConfig = OptimConfig(lr=2e-3, schedule="linear", warmup_share=0.02, floor=0.02)
    batch_size: int = 32
    """Windows per step."""
    window_length: int = 64
    """Frames per window; episodes follow each other inside one."""
    newest_share: float = 0.5
    """Share of the windows that begin in the newest episodes."""
    objective: MdnRnnObjectiveConfig = MdnRnnObjectiveConfig()


class CountedDraws:
    """A resumable source of draws: batch n depends on the seed and on n alone."""

    def __init__(self, seed: int) -> None:
        """Begin at the first batch."""
        self._seed, self._num_drawn = seed, 0

    def next(self) -> np.random.Generator:
        """Return the generator of the next batch."""
        self._num_drawn += 1
        return numpy_rng(self._seed, "batch", self._num_drawn)

    def state_dict(self) -> dict[str, Any]:
        """Return how many batches were drawn."""
        return {"num_drawn": self._num_drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after so many batches."""
        self._num_drawn = int(state["num_drawn"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """Which episodes a training may use: those there when the round began, oldest first."""

    episode_ids: tuple[str, ...]
    num_newest: int = 0
    """How many of them, at the end, the newest round collected; 0 makes no difference."""
    mirror: tuple[float, ...] = ()
    """Where the task looks the same in a mirror: the sign that each lane of the action takes there.
    Every episode is then learned from a second time, turned left to right. () turns nothing."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LatentStream:
    """The posteriors of many episodes, one after the other, with what lies between frames."""

    posteriors: Float[Tensor, "r two d"]
    lanes: Batch
    """One row; its frames are None."""
    newest_from: int
    """Index of the first frame of the newest round."""
    copies: int = 1
    """How often each real frame is in here: 2 with its mirror image."""

    def cut(self, starts: Sequence[int], length: int) -> LatentWindows:
        """Take windows; episodes may follow each other inside one."""
        index = torch.as_tensor(starts)[:, None] + torch.arange(length)
        lanes = self.lanes
        return LatentWindows(
            mean=self.posteriors[index, 0],
            log_variance=self.posteriors[index, 1],
            prev_actions=lanes.prev_actions[0, index],
            prev_rewards=lanes.prev_rewards[0, index],
            is_first=lanes.is_first[0, index],
            is_terminal=lanes.is_terminal[0, index],
        )

    @property
    def num_frames(self) -> int:
        """Frames of all episodes, mirror images included."""
        return self.posteriors.shape[0]

    @property
    def num_real_frames(self) -> int:
        """Frames that the simulator showed."""
        return self.num_frames // self.copies

    @property
    def num_real_steps(self) -> int:
        """Steps that the simulator took: a frame fewer for every episode."""
        return self.num_real_frames - int(self.lanes.is_first.sum()) // self.copies


def train_vae(
    vae: Vae,
    store: EpisodeStore,
    config: VaeTrainingConfig,
    *,
    data: Round,
    folder: PhaseFolder,
    around: Surroundings,
    hooks: Sequence[Hook] = (),
) -> Vae:
    """Train V on frames of a store and return it frozen; resumes by itself.

    Args:
        vae: Untrained, or trained in an earlier round; trained in place.
        store: Where the frames come from.
        config: How.
        data: Which episodes.
        folder: Where the phase keeps its files.
        around: Seed, ranks, audience.
        hooks: Evaluations, called with the averaged weights in place.
    """
    main_first(around.ranks, folder.claim)
    if folder.done is None:
        training = prepare_vae(vae, store, config, data=data, folder=folder, around=around)
        run_fit(training, config.fit, folder=folder, around=around, hooks=hooks)
        training.state.keep_average()
        facts = {"trained_s": training.state.elapsed_s}
        main_first(around.ranks, lambda: folder.finish(facts, vae))
    folder.load_result(vae, what="VAE")
    return vae.eval()


def prepare_vae(
    vae: Vae,
    store: EpisodeStore,
    config: VaeTrainingConfig,
    *,
    data: Round,
    folder: PhaseFolder,
    around: Surroundings,
) -> Training:
    """Put objective, optimiser and draws together, at step 0."""
    ranks = around.ranks
    objective = VaeObjective(vae, config.objective)
    draws = CountedDraws(child_seed(around.seed, folder.path.name, "draws", ranks.rank))
    cache = FrameCache.build(store, around.folder / "frames")
    lengths = [store.entry(name).num_frames for name in data.episode_ids]

    def read_stacks(rng: np.random.Generator, count: int) -> Tensor:
        shares = (data.num_newest, config.newest_share)
        stacks = [
            _read_stack(cache, data.episode_ids[episode], frame, vae.config.num_stacked)
            for episode, frame in _draw_frames(rng, lengths, count, shares)
        ]
        if data.mirror:
            turned = rng.random(count) < 0.5
            stacks = [
                np.flip(stack, axis=-1) if turn else stack
                for stack, turn in zip(stacks, turned, strict=True)
            ]
        return torch.from_numpy(np.stack(stacks)).to(ranks.device)

    def next_batch() -> Tensor:
        return read_stacks(draws.next(), config.batch_size)

    if vae.components is not None:
        seed = child_seed(around.seed, folder.path.name, "components")
        vae.fit_components(
            read_stacks(np.random.default_rng(seed), config.num_component_stacks), seed=seed
        )

    def compute_loss(wrapped: nn.Module, stacks: Any, state: TrainState) -> LossReport:
        return wrapped(stacks, step=state.step, rng=state.rng)

    return Training(
        kind="vae",
        state=_make_state(objective, config, draws, folder, around),
        next_batch=next_batch,
        compute_loss=compute_loss,
        frames_per_step=config.batch_size,
        optim=config.optim,
        config=folder.config,
    )


def read_stream(
    vae: Vae, store: EpisodeStore, data: Round, *, action_width: int, around: Surroundings
) -> LatentStream:
    """Encode every frame once (kept on disk under V's hash) and join the episodes.

    With ``data.mirror`` each episode is followed by its mirror image.

    Raises:
        ConfigError: There are no episodes, or the mirror has another width than the actions.
    """
    if not data.episode_ids:
        raise ConfigError("M needs at least one episode, and the store has none. Collect some.")
    if data.mirror and len(data.mirror) != action_width:
        raise ConfigError(
            f"A mirror needs one sign per lane of the action: {action_width}, got {data.mirror}."
        )
    key = weights_hash(vae)
    caches = [_posteriors(vae, store, around, key, mirrored=False)]
    signs = [torch.ones(action_width)]
    if data.mirror:
        caches.append(_posteriors(vae, store, around, key, mirrored=True))
        signs.append(torch.tensor(data.mirror))
    pieces: list[Tensor] = []
    lanes: list[Batch] = []
    for name in data.episode_ids:
        length = store.entry(name).num_frames
        window = store.read_window(name, 0, length, with_frames=False)
        batch = to_batch([window], action_width=action_width)
        for cache, sign in zip(caches, signs, strict=True):
            pieces.append(cache.read(WindowRef(name, 0, length)))
            lanes.append(replace(batch, prev_actions=batch.prev_actions * sign))
    num_old = len(pieces) - data.num_newest * len(caches)
    newest_from = sum(len(piece) for piece in pieces[:num_old]) if data.num_newest else 0
    return LatentStream(
        posteriors=torch.cat(pieces),
        lanes=_join_lanes(lanes),
        newest_from=newest_from,
        copies=len(caches),
    )


def train_rnn(
    rnn: MdnRnn,
    stream: LatentStream,
    config: RnnTrainingConfig,
    *,
    folder: PhaseFolder,
    around: Surroundings,
    hooks: Sequence[Hook] = (),
) -> MdnRnn:
    """Train M on a stream of latents and return it frozen; resumes by itself.

    Args:
        rnn: Untrained, or trained in an earlier round; trained in place.
        stream: Posteriors of whole episodes.
        config: How.
        folder: Where the phase keeps its files.
        around: Seed, ranks, audience.
        hooks: Evaluations, called with the averaged weights in place.
    """
    main_first(around.ranks, folder.claim)
    if folder.done is None:
        training = prepare_rnn(rnn, stream, config, folder=folder, around=around)
        run_fit(training, config.fit, folder=folder, around=around, hooks=hooks)
        training.state.keep_average()
        facts = {"trained_s": training.state.elapsed_s, "num_frames": stream.num_frames}
        main_first(around.ranks, lambda: folder.finish(facts, rnn))
    folder.load_result(rnn, what="recurrent model")
    return rnn.eval()


def prepare_rnn(
    rnn: MdnRnn,
    stream: LatentStream,
    config: RnnTrainingConfig,
    *,
    folder: PhaseFolder,
    around: Surroundings,
) -> Training:
    """Put objective, optimiser and draws together, at step 0."""
    ranks, length = around.ranks, config.window_length
    last_start = stream.num_frames - length
    if last_start < 0:
        raise ConfigError(
            f"The data has {stream.num_frames} frames in all, a window needs {length}. Collect "
            f"more episodes or set a smaller window_length."
        )
    objective = MdnRnnObjective(rnn, config.objective)
    draws = CountedDraws(child_seed(around.seed, folder.path.name, "draws", ranks.rank))

    def next_batch() -> LatentWindows:
        generator = draws.next()
        starts = generator.integers(0, last_start + 1, config.batch_size)
        if stream.newest_from:
            num_newest = round(config.newest_share * config.batch_size)
            first = min(stream.newest_from, last_start)
            starts[:num_newest] = generator.integers(first, last_start + 1, num_newest)
        return stream.cut(starts.tolist(), length)

    def compute_loss(wrapped: nn.Module, windows: Any, state: TrainState) -> LossReport:
        return wrapped(windows, rng=state.rng)

    return Training(
        kind="rnn",
        state=_make_state(objective, config, draws, folder, around),
        next_batch=next_batch,
        compute_loss=compute_loss,
        frames_per_step=config.batch_size * length,
        optim=config.optim,
        config=folder.config,
    )


def _make_state(
    objective: nn.Module,
    config: VaeTrainingConfig | RnnTrainingConfig,
    draws: CountedDraws,
    folder: PhaseFolder,
    around: Surroundings,
) -> TrainState:
    return make_state(
        objective,
        config.optim,
        draws,
        name=folder.path.name,
        num_steps=config.fit.total_steps,
        around=around,
        max_decay=_average_decay(config.fit),
    )


def _average_decay(fit: FitConfig) -> float:
    # Averages over a twentieth of a short run: a thousand steps would reach back to its beginning.
    return min(0.999, 1 - 20 / max(fit.total_steps, 40))


def _posteriors(
    vae: Vae, store: EpisodeStore, around: Surroundings, key: str, *, mirrored: bool
) -> LatentCache:
    device = next(vae.parameters()).device
    name = key[:16]
    if mirrored:
        key, name = f"{key}-mirrored", f"{name}-mirrored"
    path = around.folder / "posteriors" / name

    def encode(frames: UInt8[np.ndarray, "t h w 3"]) -> Tensor:
        if mirrored:
            frames = np.flip(frames, axis=2).copy()
        pieces, state = [], None
        for chunk in torch.from_numpy(frames)[None].split(_ENCODE_CHUNK, dim=1):
            mean, log_variance, state = vae.encode_posterior(chunk.to(device), state)
            pieces.append(torch.stack([mean[0], log_variance[0]], dim=1).cpu())
        return torch.cat(pieces)

    def show(done: int, total: int) -> None:
        around.audience.show(Progress(phase="encode", done=done, total=total, unit="frames"))

    def build() -> None:
        LatentCache.build(store, path, encode, key, show)

    main_first(around.ranks, build)
    return LatentCache.open(store, path, key)


def _join_lanes(parts: Sequence[Batch]) -> Batch:
    names = ("prev_actions", "prev_rewards", "is_first", "is_terminal")
    joined = {name: torch.cat([getattr(part, name) for part in parts], dim=1) for name in names}
    return Batch(frames=None, action_mask=parts[0].action_mask, task=parts[0].task[:1], **joined)


def _draw_frames(
    rng: np.random.Generator, lengths: Sequence[int], count: int, newest: tuple[int, float]
) -> list[tuple[int, int]]:
    num_newest, newest_share = newest
    ends = np.cumsum(lengths)
    flat = rng.integers(0, ends[-1], count)
    if num_newest and num_newest < len(lengths):
        some = round(newest_share * count)
        flat[:some] = rng.integers(ends[-num_newest - 1], ends[-1], some)
    episodes = np.searchsorted(ends, flat, side="right")
    begins = ends - np.asarray(lengths)
    return [(int(e), int(f - begins[e])) for e, f in zip(episodes, flat, strict=True)]


def _read_stack(
    cache: FrameCache, episode_id: str, frame: int, num_stacked: int
) -> UInt8[np.ndarray, "c h w"]:
    first = max(0, frame - num_stacked + 1)
    frames = cache.read(WindowRef(episode_id, first, frame - first + 1))
    missing = num_stacked - len(frames)
    if missing:
        frames = np.concatenate([np.repeat(frames[:1], missing, axis=0), frames])
    return rearrange(frames, "s h w c -> (s c) h w")
