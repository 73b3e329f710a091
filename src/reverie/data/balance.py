"""What drawing uniformly over frames gives each task, and how a loss can make up for it.

The loss-weighted baseline: the same mean as drawing all tasks alike, with the variance of
importance weights (arXiv 2606.27326, appendix).
"""

from collections import Counter
from collections.abc import Mapping

from reverie.data.windows import WindowList


def frame_shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Return what drawing uniformly over windows gives each task: its share of all windows."""
    total = sum(counts.values())
    return {task: count / total for task, count in counts.items()}


def loss_weights(counts: Mapping[str, int]) -> dict[str, float]:
    """Return (1 / tasks) / p(task): what makes uniform draws over windows uniform over tasks."""
    return {task: 1.0 / (len(counts) * share) for task, share in frame_shares(counts).items()}


def effective_sample_share(counts: Mapping[str, int]) -> float:
    """Return the effective sample size of a loss-weighted batch as a share of its length.

    (Σ p·w)² / Σ p·w², Kish's formula for draws with probability p.
    """
    shares, weights = frame_shares(counts), loss_weights(counts)
    first = sum(shares[task] * weights[task] for task in counts)
    second = sum(shares[task] * weights[task] ** 2 for task in counts)
    return first**2 / second


def count_windows(windows: WindowList) -> dict[str, int]:
    """Count the windows of each task."""
    counts: Counter[str] = Counter()
    for entry, count in zip(windows.entries, windows.counts.tolist(), strict=True):
        counts[entry.task] += count
    return dict(sorted(counts.items()))
