"""How far a dreamed frame is from the real frames that are known: k nearest neighbours.

Own definition (the paper says only "global"): a latent projected by a fixed random orthonormal
matrix to at most 128 numbers, joined with the action that led to it; the mean Euclidean distance to
the nearest ``NUM_NEIGHBOURS`` of a bank drawn uniformly over tasks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from reverie.core.errors import DataError, ShapeError
from reverie.core.files import atomic_path
from reverie.models.api import Gauge, StepContext, WorldModel

FILE_NAME = "novelty.safetensors"
NUM_NEIGHBOURS = 10
MAX_WIDTH = 128
"""Numbers that a latent is projected to."""
PROJECTION_SEED = 20260718
MAX_DENSITY_WEIGHT = 10.0
"""No frame is drawn more often than this times the median one."""


def nearest_distance(
    queries: Float[Tensor, "q w"],
    bank: Float[Tensor, "k w"],
    *,
    num_neighbours: int = NUM_NEIGHBOURS,
    allowed: Bool[Tensor, "q k"] | None = None,
) -> Float[Tensor, " q"]:
    """Return the mean distance to the nearest neighbours; NaN where fewer are allowed.

    Args:
        queries: One row each.
        bank: What is compared with.
        num_neighbours: How many of the nearest count.
        allowed: False where a neighbour must not be used, such as the episode under test.
    """
    if len(bank) < num_neighbours:
        return torch.full_like(queries[:, 0], torch.nan)
    distances = torch.cdist(queries, bank, compute_mode="donot_use_mm_for_euclid_dist")
    if allowed is not None:
        distances = torch.where(allowed, distances, torch.inf)
    nearest = distances.topk(num_neighbours, dim=1, largest=False).values.mean(dim=1)
    return torch.where(nearest.isinf(), torch.nan, nearest)


def projection(width: int) -> Float[Tensor, "w p"]:
    """Return the fixed matrix with orthonormal columns that shortens latents of ``width``."""
    kept = min(width, MAX_WIDTH)
    rng = torch.Generator().manual_seed(PROJECTION_SEED)
    gaussian = torch.randn((width, kept), generator=rng, dtype=torch.float64)
    return torch.linalg.qr(gaussian)[0].float()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NoveltyBank:
    """Real frames that are known, as short vectors."""

    vectors: Float[Tensor, "k w"]
    tasks: tuple[str, ...]
    """Names that ``task_index`` points into."""
    task_index: Int64[Tensor, " k"]
    episode: Int64[Tensor, " k"]
    """Number of the episode inside its task, to exclude the one under test."""

    @classmethod
    def build(
        cls,
        latents: Mapping[str, Float[Tensor, "k n d"]],
        actions: Mapping[str, Float[Tensor, "k a"]],
        episodes: Mapping[str, Int64[np.ndarray, " k"]],
        *,
        num_per_task: int,
        rng: np.random.Generator,
    ) -> "NoveltyBank":
        """Draw the same number of frames from every task.

        Args:
            latents: Task to latents of real frames.
            actions: Task to the actions that led to them, all of one width.
            episodes: Task to the episode of each frame.
            num_per_task: At most so many of each task.
            rng: Chooses the frames.
        """
        vectors, index, origin = [], [], []
        for number, task in enumerate(latents):
            count = len(latents[task])
            chosen = rng.permutation(count)[:num_per_task]
            vectors.append(to_vectors(latents[task][chosen], actions[task][chosen]))
            index.append(torch.full((len(chosen),), number, dtype=torch.int64))
            origin.append(torch.from_numpy(episodes[task][chosen].astype(np.int64)))
        return cls(
            vectors=torch.cat(vectors),
            tasks=tuple(latents),
            task_index=torch.cat(index),
            episode=torch.cat(origin),
        )

    def distances(
        self,
        latent: Float[Tensor, "b n d"],
        action: Float[Tensor, "b a"],
        tasks: Sequence[str],
        episodes: Int64[Tensor, " b"] | None = None,
    ) -> dict[str, Float[Tensor, " b"]]:
        """Return ``knn_global`` and ``knn_local`` (same task only; NaN for a task without frames).

        Args:
            latent: Dreamed or real latents, in model units.
            action: The actions that led to them.
            tasks: Task of each row.
            episodes: Episode of each row where it is among those of the bank; excluded.
        """
        queries = to_vectors(latent, action)
        if queries.shape[1] != self.vectors.shape[1]:
            raise ShapeError(
                f"The novelty bank holds vectors of {self.vectors.shape[1]} numbers, these frames "
                f"give {queries.shape[1]}. It is of another model; fit the calibration again."
            )
        known = {name: number for number, name in enumerate(self.tasks)}
        rows = torch.tensor([known.get(task, -1) for task in tasks], device=queries.device)
        bank = self.vectors.to(queries)
        same_task = rows[:, None] == self.task_index.to(rows)[None]
        allowed = torch.ones_like(same_task)
        if episodes is not None:
            same_episode = episodes.to(rows)[:, None] == self.episode.to(rows)[None]
            allowed = ~(same_task & same_episode)
        return {
            "knn_global": nearest_distance(queries, bank, allowed=allowed),
            "knn_local": nearest_distance(queries, bank, allowed=allowed & same_task),
        }

    def save(self, folder: Path) -> Path:
        """Write the bank into a model's folder, in half precision."""
        path = folder / FILE_NAME
        tensors = {
            "vectors": self.vectors.half().contiguous(),
            "task_index": self.task_index.contiguous(),
            "episode": self.episode.contiguous(),
        }
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"tasks": "\n".join(self.tasks)})
        return path


def load_bank(folder: Path) -> NoveltyBank:
    """Read a model's novelty bank.

    Raises:
        DataError: There is none, or it cannot be read.
    """
    path = folder / FILE_NAME
    if not path.exists():
        raise DataError(
            f"The model at '{folder}' has no novelty bank. Fit: reverie calibrate MODEL"
        )
    try:
        with safe_open(path, framework="pt") as file:
            names = (file.metadata() or {})["tasks"].split("\n")
            return NoveltyBank(
                vectors=file.get_tensor("vectors").float(),
                tasks=tuple(names),
                task_index=file.get_tensor("task_index"),
                episode=file.get_tensor("episode"),
            )
    except (SafetensorError, KeyError) as error:
        raise DataError(
            f"'{path}' is no novelty bank: {error}. Fit it again: reverie calibrate MODEL"
        ) from error


def to_vectors(
    latent: Float[Tensor, "b n d"], action: Float[Tensor, "b a"]
) -> Float[Tensor, "b w"]:
    """Shorten latents and join them with their actions."""
    flat = latent.flatten(1).float()
    return torch.cat([flat @ projection(flat.shape[1]).to(flat), action.to(flat)], dim=1)


def novelty_gauge(bank: NoveltyBank, *, is_local: bool = False) -> Gauge:
    """Make the gauge of a bank: distance over all tasks, or within the row's own task."""
    name = "knn_local" if is_local else "knn_global"

    def gauge(world: WorldModel, step: StepContext) -> Float[Tensor, " b"]:
        found = bank.distances(step.prediction.latent, step.action, step.before.task)
        return found[name]

    return gauge


def density_weights(
    distances: Float[np.ndarray, " n"], *, power: float = 0.5, cap: float = MAX_DENSITY_WEIGHT
) -> Float[np.ndarray, " n"]:
    """Return sampling weights ∝ 1 / density^power, capped, with median 1.

    Density is taken as inverse distance to the neighbours, so the weight is distance^power up to a
    constant: rare frames are drawn more often, but never more than ``cap`` times the median.
    """
    middle = float(np.median(distances))
    if not middle > 0.0:
        return np.ones_like(distances)
    return np.minimum((distances / middle) ** power, cap)
