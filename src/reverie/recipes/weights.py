"""Weights files for a store: coverage-aware sampling, and what weighting the loss would cost."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from reverie.core.errors import ConfigError
from reverie.core.seeds import numpy_rng
from reverie.data.balance import effective_sample_share, frame_shares
from reverie.data.store import EpisodeStore
from reverie.hallucination.coverage import (
    TARGET_SHARE,
    novelty_weights,
    targeted_weights,
    uniform_weights,
    write_weights,
)
from reverie.hallucination.novelty import NoveltyBank
from reverie.models.api import WorldModel
from reverie.models.load import load_world_model, resolve_model

Strategy = Literal["uniform", "frames", "targeted", "novelty"]
FRAMES_PER_EPISODE = 8
"""Frames that stand for an episode when its rarity is measured."""
BANK_PER_TASK = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsOrder:
    """Which weights are wanted."""

    strategy: Strategy = "uniform"
    targeted: tuple[str, ...] = ()
    alpha: float = TARGET_SHARE
    model: str = "pocket"
    """Whose latents say what is rare; only for ``novelty``."""

    def __post_init__(self) -> None:
        """Refuse targets that would be ignored."""
        if bool(self.targeted) != (self.strategy == "targeted"):
            raise ConfigError(
                f"Targeted tasks go with strategy 'targeted' and only with it, got strategy "
                f"'{self.strategy}' and targets {self.targeted}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeWeights:
    """Weights, and what they mean for the tasks of a store."""

    kind: Literal["task", "episode"]
    weights: Mapping[str, float]
    counts: Mapping[str, int]
    """Frames of each task."""
    task_shares: Mapping[str, float]

    @property
    def frame_shares(self) -> dict[str, float]:
        """What drawing uniformly over frames would give each task."""
        return frame_shares(self.counts)

    @property
    def loss_effective_share(self) -> float:
        """Effective batch size of the baseline that weights the loss instead."""
        return effective_sample_share(self.counts)

    def write(self, path: Path) -> None:
        """Write the file that training reads."""
        write_weights(path, self.kind, self.weights)


def make_weights(store_path: Path, order: WeightsOrder) -> MadeWeights:
    """Make the weights of a store.

    Raises:
        ConfigError: A targeted task is not in the store.
    """
    store = EpisodeStore.open(store_path)
    counts: defaultdict[str, int] = defaultdict(int)
    for entry in store.index:
        counts[entry.task] += entry.num_frames
    tasks = tuple(sorted(counts))
    ordered = {task: counts[task] for task in tasks}
    if order.strategy == "novelty":
        return MadeWeights(
            kind="episode",
            weights=_by_novelty(store, load_world_model(resolve_model(order.model))),
            counts=ordered,
            task_shares=uniform_weights(tasks),
        )
    shares = {
        "uniform": lambda: uniform_weights(tasks),
        "frames": lambda: frame_shares(ordered),
        "targeted": lambda: targeted_weights(tasks, order.targeted, order.alpha),
    }[order.strategy]()
    return MadeWeights(kind="task", weights=shares, counts=ordered, task_shares=shares)


@torch.inference_mode()
def _by_novelty(store: EpisodeStore, world: WorldModel) -> dict[str, float]:
    latents: defaultdict[str, list[torch.Tensor]] = defaultdict(list)
    owners: defaultdict[str, list[int]] = defaultdict(list)
    ids: defaultdict[str, list[str]] = defaultdict(list)
    for entry in store.index:
        frames = store.read_episode(entry.id).frames
        places = np.linspace(0, len(frames) - 1, min(FRAMES_PER_EPISODE, len(frames))).astype(int)
        encoded, _ = world.tokenizer.encode(torch.from_numpy(frames[places])[:, None])
        latents[entry.task].append(encoded[:, 0])
        owners[entry.task] += [len(ids[entry.task])] * len(places)
        ids[entry.task].append(entry.id)
    joined = {task: torch.cat(parts) for task, parts in latents.items()}
    # Pictures alone say what is rare: actions are not joined.
    nothing = {task: torch.zeros(len(values), 0) for task, values in joined.items()}
    origin = {task: np.array(values) for task, values in owners.items()}
    rng = numpy_rng(0, "weights")
    bank = NoveltyBank.build(joined, nothing, origin, num_per_task=BANK_PER_TASK, rng=rng)
    distances: dict[str, float] = {}
    for task, values in joined.items():
        own = torch.from_numpy(origin[task])
        found = bank.distances(values, nothing[task], [task] * len(values), own)["knn_local"]
        if found.isnan().any():
            raise ConfigError(
                f"The store has too few frames of '{task}' to say which episodes are rare. "
                f"Collect more, or take --strategy uniform."
            )
        for number, name in enumerate(ids[task]):
            distances[name] = float(found[own == number].mean())
    return novelty_weights(ids, distances)
