"""Windows of episodes, and ``to_batch``: the only bridge from forward to backward time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64

from reverie.core.batch import Batch
from reverie.core.errors import ConfigError, ShapeError
from reverie.core.types import Episode
from reverie.data.shards import EpisodeEntry
from reverie.data.store import Window


class WindowRef(NamedTuple):
    """Where a window lies; ``store.read_window(*ref)`` reads it."""

    episode_id: str
    start: int
    length: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WindowList:
    """All windows of one length that lie wholly inside an episode."""

    length: int
    entries: tuple[EpisodeEntry, ...]
    """Episodes that are long enough, sorted by id."""
    counts: Int64[np.ndarray, " episodes"]
    """Windows per episode."""

    @property
    def num_windows(self) -> int:
        """Number of windows of all episodes."""
        return int(self.counts.sum())

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that have windows, sorted."""
        return tuple(sorted({entry.task for entry in self.entries}))

    def ref(self, episode: int, start: int) -> WindowRef:
        """Return the window that starts at frame ``start`` of the given episode of the list."""
        return WindowRef(self.entries[episode].id, start, self.length)


def list_windows(
    index: Sequence[EpisodeEntry], length: int, *, tasks: Sequence[str] | None = None
) -> WindowList:
    """List every window of ``length`` frames; windows never cross episodes.

    Args:
        index: ``store.index``.
        length: Frames per window.
        tasks: Keep only these tasks; all by default.

    Raises:
        ConfigError: No episode is long enough.
    """
    if length < 1:
        raise ConfigError(f"A window needs at least one frame, got length {length}.")
    asked = [entry for entry in index if tasks is None or entry.task in tasks]
    kept = tuple(entry for entry in asked if entry.num_frames >= length)
    if not kept:
        longest = max((entry.num_frames for entry in asked), default=0)
        raise ConfigError(
            f"No episode has a window of {length} frames: {len(asked)} episodes, the longest of "
            f"{longest} frames. Collect longer episodes, or ask for shorter windows."
        )
    counts = np.array([entry.num_frames - length + 1 for entry in kept], dtype=np.int64)
    return WindowList(length=length, entries=kept, counts=counts)


def to_batch(windows: Sequence[Window], *, action_width: int) -> Batch:
    """Shift, pad and mask: windows that look forward become a batch that looks back.

    ``prev_actions[:, t]`` led to ``frames[:, t]``. A window from the middle of an episode has
    the real previous action at position 0; only the first frame of an episode has none.

    Args:
        windows: Of one length; all with frames, or all without.
        action_width: Lanes of the batch; narrower native actions are padded with zeros on the
            right, and ``action_mask`` says so.
    """
    _check_windows(windows, action_width)
    rows, length = len(windows), windows[0].length
    actions = np.zeros((rows, length, action_width), dtype=np.float32)
    rewards = np.zeros((rows, length), dtype=np.float32)
    mask = np.zeros((rows, action_width), dtype=np.float32)
    is_first = np.zeros((rows, length), dtype=np.bool_)
    is_terminal = np.zeros((rows, length), dtype=np.bool_)
    for row, window in enumerate(windows):
        width, num_steps = window.entry.action_width, window.entry.num_steps
        skipped = 1 if window.start == 0 else 0
        steps = slice(window.start + skipped - 1, window.start + length - 1)
        actions[row, skipped:, :width] = window.actions[steps]
        rewards[row, skipped:] = window.rewards[steps]
        mask[row, :width] = 1.0
        is_first[row, 0] = window.start == 0
        is_terminal[row, -1] = window.entry.terminated and window.start + length - 1 == num_steps
    pictures = [window.frames for window in windows if window.frames is not None]
    return Batch(
        frames=torch.from_numpy(np.stack(pictures)) if pictures else None,
        prev_actions=torch.from_numpy(actions),
        prev_rewards=torch.from_numpy(rewards),
        action_mask=torch.from_numpy(mask),
        is_first=torch.from_numpy(is_first),
        is_terminal=torch.from_numpy(is_terminal),
        task=tuple(window.entry.task for window in windows),
    )


def window_of(episode: Episode, start: int = 0, length: int | None = None) -> Window:
    """Cut a window from an episode in memory; by default, to its end."""
    num_frames = len(episode.frames)
    length = num_frames - start if length is None else length
    if start < 0 or length < 1 or start + length > num_frames:
        raise ConfigError(
            f"The episode has frames 0 to {num_frames - 1}, asked for {length} from {start}. "
            f"Choose a window inside."
        )
    entry = EpisodeEntry(
        id="",
        task=episode.task,
        source=episode.source,
        seed=episode.seed,
        num_steps=episode.num_steps,
        action_width=episode.actions.shape[1],
        terminated=episode.terminated,
        score=episode.score,
    )
    return Window(
        entry=entry,
        start=start,
        length=length,
        actions=episode.actions,
        rewards=episode.rewards,
        frames=episode.frames[start : start + length],
    )


def episode_to_batch(
    episode: Episode, start: int = 0, length: int | None = None, *, action_width: int
) -> Batch:
    """Make a batch of one row from an episode in memory."""
    return to_batch([window_of(episode, start, length)], action_width=action_width)


def _check_windows(windows: Sequence[Window], action_width: int) -> None:
    if not windows:
        raise ShapeError("A batch needs at least one window, got none.")
    lengths = {window.length for window in windows}
    if len(lengths) > 1:
        raise ShapeError(f"All windows of a batch need one length, got {sorted(lengths)}.")
    if len({window.frames is None for window in windows}) > 1:
        raise ShapeError("Give all windows of a batch frames, or none of them.")
    widest = max(windows, key=lambda window: window.entry.action_width).entry
    if widest.action_width > action_width:
        raise ShapeError(
            f"Actions of '{widest.task}' have {widest.action_width} lanes, the batch has room "
            f"for {action_width}. Raise action_width to {widest.action_width} or more."
        )
