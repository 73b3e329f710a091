"""Which windows are learned from: pure functions of a seed and a step, so any run can resume."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from reverie.core.errors import CheckpointError, ConfigError, DataError
from reverie.core.registry import unknown_name_message
from reverie.core.seeds import numpy_rng
from reverie.data.windows import WindowList, WindowRef

Strategy = Literal["windows", "tasks", "weighted"]
Balance = Literal["tasks", "windows", "loss"]
"""``tasks``: coverage-aware, every task as often as any other. ``windows``: every frame as often as
any other, so that long and frequent episodes come more often. ``loss``: drawn like ``windows``, but
rare tasks weigh more in the loss; a baseline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerConfig:
    """How windows are drawn."""

    strategy: Strategy = "tasks"
    """``windows``: uniform over windows, so long tasks come more often. ``tasks``: uniform over
    tasks, then over the windows of the task, so a rare task is seen as often as a common one.
    ``weighted``: tasks or episodes by a weights file, then uniform over their windows."""
    batch_size: int = 16
    """Windows per rank and step."""
    seed: int = 0
    weights_file: str | None = None
    """JSON for ``weighted``: ``{"kind": "task" | "episode", "weights": {name: weight}}``."""

    def __post_init__(self) -> None:
        """Refuse settings that would be ignored or cannot work."""
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {self.batch_size}.")
        if (self.strategy == "weighted") != (self.weights_file is not None):
            raise ConfigError(
                f"A weights_file goes with strategy 'weighted' and only with it, got strategy "
                f"'{self.strategy}' and weights_file {self.weights_file!r}."
            )


class WindowSampler:
    """Draws the windows of every step; the only state is the number of the next step.

    All ranks draw the same global batch from (seed, step) and each takes its own rows, so two
    ranks together see exactly what one process with the joined batch sees.
    """

    def __init__(
        self, windows: WindowList, config: SamplerConfig, *, rank: int = 0, num_ranks: int = 1
    ) -> None:
        """Prepare the chances of all episodes.

        Args:
            windows: What may be drawn.
            config: How.
            rank: This process, 0 … num_ranks − 1.
            num_ranks: Processes that train together.
        """
        if not 0 <= rank < num_ranks:
            raise ConfigError(f"rank must lie in 0 … {num_ranks - 1}, got {rank}.")
        self.windows = windows
        self.config = config
        self._rank = rank
        self._num_ranks = num_ranks
        self._step = 0
        self._cumulative = np.cumsum(episode_chances(windows, config))
        self._cumulative /= self._cumulative[-1]

    @property
    def step(self) -> int:
        """Number of the step that ``next_batch`` draws next."""
        return self._step

    def draw(self, step: int) -> list[WindowRef]:
        """Return this rank's windows of one step; the same step gives the same windows."""
        rng = numpy_rng(self.config.seed, "windows", step)
        size = self.config.batch_size
        total = size * self._num_ranks
        episodes = np.searchsorted(self._cumulative, rng.random(total), side="right")
        starts = (rng.random(total) * self.windows.counts[episodes]).astype(np.int64)
        mine = slice(self._rank * size, (self._rank + 1) * size)
        return [
            self.windows.ref(int(episode), int(start))
            for episode, start in zip(episodes[mine], starts[mine], strict=True)
        ]

    def next_batch(self) -> list[WindowRef]:
        """Draw the next step's windows."""
        refs = self.draw(self._step)
        self._step += 1
        return refs

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, and what it must find unchanged."""
        return {
            "step": self._step,
            "seed": self.config.seed,
            "strategy": self.config.strategy,
            "num_windows": self.windows.num_windows,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where another sampler stopped; other data or settings are refused."""
        for name, mine in self.state_dict().items():
            if name != "step" and state[name] != mine:
                raise CheckpointError(
                    f"The sampler was saved with {name} {state[name]!r}, now it is {mine!r}: the "
                    f"run would not continue as it began. Restore the old data and settings, or "
                    f"start a new run."
                )
        self._step = int(state["step"])


def episode_chances(windows: WindowList, config: SamplerConfig) -> Float64[np.ndarray, " episodes"]:
    """Return each episode's chance to be drawn from, summing to 1."""
    counts = windows.counts.astype(np.float64)
    if config.strategy == "windows":
        return counts / counts.sum()
    if config.strategy == "tasks":
        return _group_chances(windows, "task", dict.fromkeys(windows.tasks, 1.0))
    kind, weights = read_weights(Path(str(config.weights_file)), windows)
    return _group_chances(windows, kind, weights)


def read_weights(path: Path, windows: WindowList) -> tuple[str, dict[str, float]]:
    """Read a weights file and check it against the windows; what it leaves out is not drawn."""
    try:
        values = json.loads(path.read_bytes())
        kind, weights = values["kind"], {str(k): float(v) for k, v in values["weights"].items()}
    except FileNotFoundError as error:
        raise DataError(f"There is no weights file {path}. Check the path.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f'{path} is not a weights file: it should hold {{"kind": "task" or "episode", '
            f'"weights": {{name: weight}}}}, reading it gave {error!r}.'
        ) from error
    if kind not in ("task", "episode"):
        raise DataError(f"{path} has kind {kind!r}, expected 'task' or 'episode'.")
    by_task = kind == "task"
    names = windows.tasks if by_task else tuple(entry.id for entry in windows.entries)
    for name, weight in weights.items():
        if name not in set(names):
            hint = f"The data has {len(names)} {kind}s with windows of {windows.length} frames"
            raise DataError(unknown_name_message(kind, name, names, hint))
        if not (weight >= 0.0 and np.isfinite(weight)):
            raise DataError(f"{path} gives '{name}' the weight {weight}; it must be 0 or more.")
    if not sum(weights.values()) > 0:
        raise DataError(f"{path} gives no {kind} a weight above 0. Raise at least one.")
    return kind, weights


def _group_chances(
    windows: WindowList, kind: str, weights: dict[str, float]
) -> Float64[np.ndarray, " episodes"]:
    groups = [entry.task if kind == "task" else entry.id for entry in windows.entries]
    sizes: Counter[str] = Counter()
    for group, count in zip(groups, windows.counts.tolist(), strict=True):
        sizes[group] += count
    chances = np.array(
        [
            weights.get(group, 0.0) * count / sizes[group]
            for group, count in zip(groups, windows.counts.tolist(), strict=True)
        ],
        dtype=np.float64,
    )
    return chances / chances.sum()
