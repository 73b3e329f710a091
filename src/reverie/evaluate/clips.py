"""Fixed windows of held-out episodes, cut the same way every time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from reverie.core.batch import Batch
from reverie.core.errors import DataError
from reverie.core.types import Episode
from reverie.data.windows import to_batch, window_of

CLIP_FRAMES = 24
"""Frames of a clip: 8 of context and 16 that are dreamed (arXiv 2606.27326)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Clips:
    """Clips of one task."""

    task: str
    batch: Batch
    """One row a clip."""
    episode: tuple[int, ...]
    """Index of the episode that each clip is from."""
    start: tuple[int, ...]
    """Frame of the episode where each clip begins."""
    num_short_episodes: int
    """Episodes that were too short to give a clip."""

    @property
    def num_clips(self) -> int:
        """Number of clips."""
        return self.batch.num_rows

    @property
    def num_frames(self) -> int:
        """Frames of each clip."""
        return self.batch.num_frames

    @property
    def frames(self) -> UInt8[Tensor, "b t h w 3"]:
        """The pictures."""
        assert self.batch.frames is not None, "clips are always cut with their frames"
        return self.batch.frames

    def pictures(self) -> UInt8[np.ndarray, "b t h w 3"]:
        """The pictures as NumPy."""
        return self.frames.cpu().numpy()

    def parts(self, num_rows: int) -> Iterator[tuple[list[int], Batch]]:
        """Iterate over batches of at most ``num_rows`` clips, with their indices."""
        for begin in range(0, self.num_clips, num_rows):
            rows = list(range(begin, min(begin + num_rows, self.num_clips)))
            yield rows, self.batch.select(rows)


def cut_clips(
    episodes: Sequence[Episode],
    *,
    action_width: int,
    num_per_episode: int,
    num_frames: int = CLIP_FRAMES,
) -> Clips:
    """Cut clips at even distances from every episode of one task.

    Args:
        episodes: Held-out episodes of one task.
        action_width: Of the model.
        num_per_episode: Clips from each episode; fewer where it has fewer places to begin.
        num_frames: Length of a clip.

    Raises:
        DataError: The episodes are of several tasks, or none is long enough.
    """
    tasks = sorted({episode.task for episode in episodes})
    if len(tasks) != 1:
        raise DataError(f"Clips are cut from the episodes of one task, got {tasks or 'none'}.")
    places = [
        (index, start)
        for index, episode in enumerate(episodes)
        for start in even_starts(len(episode.frames) - num_frames, num_per_episode)
    ]
    if not places:
        longest = max(len(episode.frames) for episode in episodes)
        raise DataError(
            f"No episode of '{tasks[0]}' has {num_frames} frames; the longest of {len(episodes)} "
            f"has {longest}. Collect longer episodes or ask for shorter clips."
        )
    windows = [window_of(episodes[index], start, num_frames) for index, start in places]
    return Clips(
        task=tasks[0],
        batch=to_batch(windows, action_width=action_width),
        episode=tuple(index for index, _ in places),
        start=tuple(start for _, start in places),
        num_short_episodes=sum(len(episode.frames) < num_frames for episode in episodes),
    )


def even_starts(last: int, count: int) -> list[int]:
    """Return at most ``count`` places from 0 to ``last``, at even distances; none if below 0."""
    if last < 0:
        return []
    return sorted({round(start) for start in np.linspace(0, last, min(count, last + 1))})
