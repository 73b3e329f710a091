"""The branch bench: several futures from one restored moment, in the simulator and in the dream.

Our simulators go back to a moment exactly, chance included, so the truth of any branch can be had,
not only of the one that was recorded. From each moment the same action sequences are played in
both: does the dream follow actions that nobody took, and do its branches part where the real ones
part?
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from reverie.core.batch import Batch
from reverie.core.errors import ConfigError, DataError
from reverie.core.seeds import child_seed, numpy_rng
from reverie.core.types import ActionSpec, Episode, FrameSpec
from reverie.data.windows import to_batch, window_of
from reverie.envs.api import TaskEnv
from reverie.envs.registry import make_env
from reverie.evaluate.clips import even_starts
from reverie.evaluate.rollout import RAW_READINGS, ClipNoise
from reverie.hallucination.gauges import ReadingSet
from reverie.models.api import StepContext, WorldModel

OWN = "own"
"""The branch that was recorded: what the policy did."""
_Actions = Float32[np.ndarray, "t a"]


def _held(own: _Actions, spec: ActionSpec, rng: np.random.Generator) -> _Actions:
    return np.broadcast_to(rng.choice([-1.0, 1.0], own.shape[1:]), own.shape).astype(np.float32)


def _zero(own: _Actions, spec: ActionSpec, rng: np.random.Generator) -> _Actions:
    return np.zeros_like(own)


def _opposite(own: _Actions, spec: ActionSpec, rng: np.random.Generator) -> _Actions:
    return -own


def _mirrored(own: _Actions, spec: ActionSpec, rng: np.random.Generator) -> _Actions:
    return own[::-1].copy()


OTHERS: dict[str, Callable[[_Actions, ActionSpec, np.random.Generator], _Actions]] = {
    "held": _held,
    "zero": _zero,
    "opposite": _opposite,
    "mirrored": _mirrored,
}
"""Branches that nobody took, made of the own one: one full action, drawn at random and held; none;
each lane with the other sign; the own actions in reverse order."""
KINDS = (OWN, *OTHERS)


@dataclass(frozen=True, kw_only=True, slots=True)
class BranchConfig:
    """Where branches leave the episode, and how far they go."""

    context: int = 8
    """Real frames before the dream; cut to what the model uses."""
    horizon: int = 16
    """Steps of each branch."""
    places_per_episode: int = 2
    batch_rows: int = 4
    """Moments that are dreamed side by side, all their branches with them."""
    seed: int = 0
    """Root of what is drawn: the held actions, and all noises of the dream."""
    readings: tuple[str, ...] = RAW_READINGS
    """Gauges that are read at every dreamed step; empty reads none and is faster."""

    def __post_init__(self) -> None:
        """Refuse branches of nothing."""
        sizes = (self.context, self.horizon, self.places_per_episode, self.batch_rows)
        if min(sizes) < 1:
            raise ConfigError(
                f"context, horizon, places_per_episode and batch_rows must be at least 1, got "
                f"{', '.join(map(str, sizes))}."
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Branches:
    """What really happens on every branch from some moments of one task."""

    task: str
    context: Batch
    """One row a moment: the real frames up to it."""
    episode: tuple[int, ...]
    """Seed of the episode that each moment is from."""
    step: tuple[int, ...]
    """Frame of the episode at which the branches part."""
    actions: Float32[np.ndarray, "p k t a"]
    """Of each branch, in the order of ``KINDS``; at native width, as they were executed."""
    frames: UInt8[np.ndarray, "p k t h w 3"]
    """Real frames; a branch that has ended repeats its last one."""
    is_alive: Bool[np.ndarray, "p k t"]
    """False at frames after a branch has ended."""

    @property
    def num_places(self) -> int:
        """Moments where branches part."""
        return len(self.step)

    @property
    def horizon(self) -> int:
        """Steps of each branch."""
        return self.frames.shape[2]

    @property
    def moment(self) -> UInt8[np.ndarray, "p h w 3"]:
        """The last frame that all branches of a moment share."""
        assert self.context.frames is not None, "branches are always played with their frames"
        return self.context.frames[:, -1].cpu().numpy()

    def select(self, rows: Sequence[int]) -> "Branches":
        """Keep the given moments, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        return Branches(
            task=self.task,
            context=self.context.select(index.tolist()),
            episode=tuple(self.episode[row] for row in index.tolist()),
            step=tuple(self.step[row] for row in index.tolist()),
            actions=self.actions[index],
            frames=self.frames[index],
            is_alive=self.is_alive[index],
        )

    def parts(self, num_rows: int) -> Iterator["Branches"]:
        """Iterate over at most ``num_rows`` moments at a time."""
        for begin in range(0, self.num_places, num_rows):
            yield self.select(range(begin, min(begin + num_rows, self.num_places)))


def play_branches(
    episodes: Sequence[Episode], *, frame_spec: FrameSpec, action_width: int, config: BranchConfig
) -> Branches:
    """Replay episodes of one task in its simulator and play every branch from some moments.

    The own branch is played last, after all others have left from the same snapshot, and must give
    the recorded frames again, bit for bit.

    Args:
        episodes: Played by this version, with their seeds.
        frame_spec: Of the model.
        action_width: Of the model; ``context`` is padded to it.
        config: Which moments, and how far.

    Raises:
        DataError: The episodes are too short, of several tasks, or do not repeat.
    """
    tasks = sorted({episode.task for episode in episodes})
    if len(tasks) != 1:
        raise DataError(f"Branches leave the episodes of one task, got {tasks or 'none'}.")
    chosen = [(episode, _places(episode, config)) for episode in episodes]
    if not any(places for _, places in chosen):
        longest = max(episode.num_steps for episode in episodes)
        raise DataError(
            f"No episode of '{tasks[0]}' has {config.context} frames of context and "
            f"{config.horizon} steps after them; the longest has {longest} steps. Play longer "
            f"episodes or ask for a shorter horizon."
        )
    env = make_env(tasks[0], frame_spec=frame_spec)
    try:
        futures = [
            future
            for episode, places in chosen
            for future in _play_episode(env, episode, places, config)
        ]
    finally:
        env.close()
    moments = [(episode, step) for episode, places in chosen for step in places]
    windows = [
        window_of(episode, step - config.context + 1, config.context) for episode, step in moments
    ]
    actions, frames, is_alive = (np.stack(column) for column in zip(*futures, strict=True))
    return Branches(
        task=tasks[0],
        context=to_batch(windows, action_width=action_width),
        episode=tuple(episode.seed for episode, _ in moments),
        step=tuple(step for _, step in moments),
        actions=actions,
        frames=frames,
        is_alive=is_alive,
    )


def _places(episode: Episode, config: BranchConfig) -> list[int]:
    first = config.context - 1
    last = episode.num_steps - config.horizon - first
    return [first + start for start in even_starts(last, config.places_per_episode)]


_Future = tuple[
    Float32[np.ndarray, "k t a"], UInt8[np.ndarray, "k t h w 3"], Bool[np.ndarray, "k t"]
]


def _play_episode(
    env: TaskEnv, episode: Episode, places: Sequence[int], config: BranchConfig
) -> list[_Future]:
    futures: list[_Future] = []
    frame = env.reset(child_seed(episode.seed, "env"))
    for step in range(max(places, default=-1) + 1):
        _check_repeats(episode, step, frame)
        if step in places:
            snapshot = env.save()
            futures.append(_branch_off(env, episode, step, config))
            # Back to the road: what follows must not depend on the branches.
            env.restore(snapshot)
        frame = env.step(episode.actions[step]).frame
    return futures


def _branch_off(env: TaskEnv, episode: Episode, step: int, config: BranchConfig) -> _Future:
    own = episode.actions[step : step + config.horizon]
    rng = numpy_rng(config.seed, "branch", episode.seed, step)
    sequences = {name: make(own, env.spec.action, rng) for name, make in OTHERS.items()}
    legal = {name: _legal(actions, env.spec.action) for name, actions in sequences.items()}
    snapshot = env.save()
    played = [_play(env, snapshot, actions) for actions in (*legal.values(), own)]
    for index, frame in enumerate(played[-1][0]):
        _check_repeats(episode, step + 1 + index, frame)
    # KINDS begins with the own branch.
    played = [played[-1], *played[:-1]]
    return (
        np.stack([own, *legal.values()]),
        np.stack([frames for frames, _ in played]),
        np.stack([is_alive for _, is_alive in played]),
    )


def _legal(actions: _Actions, spec: ActionSpec) -> _Actions:
    """Turn any numbers into actions of the task; of discrete ones the largest lane is chosen."""
    if spec.kind == "discrete":
        return np.eye(spec.width, dtype=np.float32)[actions.argmax(axis=1)]
    return np.clip(actions, -1.0, 1.0)


def _play(
    env: TaskEnv, snapshot: object, actions: _Actions
) -> tuple[UInt8[np.ndarray, "t h w 3"], Bool[np.ndarray, " t"]]:
    env.restore(snapshot)
    frames: list[UInt8[np.ndarray, "h w 3"]] = []
    for action in actions:
        result = env.step(action)
        frames.append(result.frame)
        if result.terminated or result.truncated:
            break
    is_alive = np.arange(len(actions)) < len(frames)
    frames += [frames[-1]] * (len(actions) - len(frames))
    return np.stack(frames), is_alive


def _check_repeats(episode: Episode, index: int, frame: UInt8[np.ndarray, "h w 3"]) -> None:
    if not np.array_equal(frame, episode.frames[index]):
        raise DataError(
            f"'{episode.task}' with seed {episode.seed} does not repeat: frame {index} differs "
            f"from the recorded one. Branches need a task that goes back to a moment exactly."
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DreamedBranches:
    """What the dream makes of every branch."""

    frames: UInt8[np.ndarray, "p k t h w 3"]
    readings: Mapping[str, Float[np.ndarray, "p k t"]]

    def select(self, rows: Sequence[int]) -> "DreamedBranches":
        """Keep the given moments, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        return DreamedBranches(
            frames=self.frames[index],
            readings={name: values[index] for name, values in self.readings.items()},
        )


@torch.inference_mode()
def dream_branches(world: WorldModel, branches: Branches, config: BranchConfig) -> DreamedBranches:
    """Dream every branch from the same context, all branches of a moment under the same noise."""
    parts = [_dream_part(world, part, config) for part in branches.parts(config.batch_rows)]
    return DreamedBranches(
        frames=np.concatenate([part.frames for part in parts]),
        readings={
            name: np.concatenate([part.readings[name] for part in parts])
            for name in config.readings
        },
    )


def _dream_part(world: WorldModel, part: Branches, config: BranchConfig) -> DreamedBranches:
    num_kinds, num_frames = part.actions.shape[1], part.context.num_frames
    used = part.context.slice_time(max(0, num_frames - world.max_context), num_frames)
    # The noise belongs to the moment, whatever stands beside it.
    names = [
        child_seed(seed, "moment", step) for seed, step in zip(part.episode, part.step, strict=True)
    ]
    noise = ClipNoise.draw(world, names, used.num_frames, part.horizon, seed=config.seed)
    state = world.start(used, noise.context).fork(num_kinds)
    actions = _padded(part.actions, world)
    gauges = ReadingSet(names=config.readings)
    frames: list[Tensor] = []
    taken: dict[str, list[Tensor]] = {name: [] for name in config.readings}
    for step, drawn in enumerate(noise.steps):
        before, action = state, actions[:, step]
        state, prediction = world.step(before, action, drawn.fork(num_kinds))
        frames.append(world.decode(state))
        if config.readings:
            seen = StepContext(before=before, action=action, prediction=prediction, after=state)
            for name, values in gauges.take(world, seen).items():
                taken[name].append(values)
    pictures = torch.stack(frames, dim=1).cpu().numpy()
    stacked = {
        name: torch.stack(values, dim=1).double().cpu().numpy() for name, values in taken.items()
    }
    return DreamedBranches(
        frames=rearrange(pictures, "(p k) t h w c -> p k t h w c", k=num_kinds),
        readings={
            name: rearrange(values, "(p k) t -> p k t", k=num_kinds)
            for name, values in stacked.items()
        },
    )


def _padded(actions: Float32[np.ndarray, "p k t a"], world: WorldModel) -> Tensor:
    rows = rearrange(torch.from_numpy(actions), "p k t a -> (p k) t a")
    missing = world.action_width - rows.shape[-1]
    return torch.nn.functional.pad(rows, (0, missing)).to(world.device)


@torch.inference_mode()
def decode_branches(
    world: WorldModel, branches: Branches, config: BranchConfig
) -> tuple[UInt8[np.ndarray, "p k t h w 3"], UInt8[np.ndarray, "p h w 3"]]:
    """Send the real frames through the tokenizer: the best that any dream could show.

    Returns:
        The frames of all branches, and the moment at which they part.
    """
    shown, moments = [], []
    for part in branches.parts(config.batch_rows):
        assert part.context.frames is not None, "branches are always played with their frames"
        before = part.context.frames.repeat_interleave(part.frames.shape[1], dim=0)
        after = rearrange(torch.from_numpy(part.frames), "p k t h w c -> (p k) t h w c")
        video = torch.cat([before.to(after.device), after], dim=1).to(world.device)
        latents, _ = world.tokenizer.encode(video)
        frames, _ = world.tokenizer.decode(latents)
        frames = rearrange(frames.cpu(), "(p k) t h w c -> p k t h w c", k=part.frames.shape[1])
        context = part.context.num_frames
        shown.append(frames[:, :, context:].numpy())
        moments.append(frames[:, 0, context - 1].numpy())
    return np.concatenate(shown), np.concatenate(moments)


def fit_branches(world: WorldModel, config: BranchConfig) -> BranchConfig:
    """Cut the context to what the model uses."""
    return replace(config, context=min(config.context, world.max_context))
