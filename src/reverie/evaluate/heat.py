"""Does the heat map point at what is wrong? Judged patch by patch, beside mere motion."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from reverie.evaluate.clips import Clips
from reverie.evaluate.discrimination import auroc
from reverie.hallucination.heat import difference_map, round_trip_map
from reverie.models.api import WorldModel

WRONG_PATCH = 0.1
"""A patch is wrong if its mean absolute error is above this, in [0, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeatScore:
    """AUROC over patches, one value a clip, unweighted mean."""

    auroc: float
    """Of |x̂ − Dec(Enc(x̂))|."""
    motion_auroc: float
    """Of the same map for motion, |x̂ − x̂ before|: what has to be beaten."""
    num_clips: int
    """Clips with wrong and right patches; the others say nothing."""


@torch.inference_mode()
def score_heat(
    world: WorldModel, clips: Clips, dreamed: UInt8[np.ndarray, "b t h w 3"], *, context: int
) -> HeatScore:
    """Judge the heat maps of dreams against the true error of each patch.

    Args:
        world: The model.
        clips: The truth; the dream begins after ``context`` frames.
        dreamed: Dreamed frames.
        context: Real frames before.
    """
    scores: list[tuple[float, float]] = []
    for row in range(len(dreamed)):
        dream = torch.from_numpy(dreamed[row]).to(world.device)
        truth = clips.frames[row, context : context + len(dream)].to(world.device)
        before = torch.cat([clips.frames[row, context - 1 : context].to(world.device), dream[:-1]])
        wrong = _flat(difference_map(dream, truth)) > WRONG_PATCH
        maps = (round_trip_map(world, dream), difference_map(dream, before))
        scores.append((auroc(_flat(maps[0]), wrong), auroc(_flat(maps[1]), wrong)))
    found = np.array(scores)
    finite = found[np.isfinite(found).all(axis=1)]
    if not len(finite):
        return HeatScore(auroc=float("nan"), motion_auroc=float("nan"), num_clips=0)
    means = finite.mean(axis=0)
    return HeatScore(auroc=float(means[0]), motion_auroc=float(means[1]), num_clips=len(finite))


def _flat(values: Float[Tensor, "b r c"]) -> Float[np.ndarray, " n"]:
    return values.double().cpu().numpy().reshape(-1)
