"""Is what the dream shows still made of what the real context showed? A gauge for calm errors.

A dream that has settled into a wrong scene moves little and hesitates little, so the published
readings fall again. Its tokens, however, no longer resemble any token of the real frames it
started from.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def context_consistency(
    latent: Float[Tensor, "b n d"], context: Float[Tensor, "b t n d"]
) -> Float[Tensor, " b"]:
    """Return the mean over tokens of the distance to the nearest context frame's same token.

    Root mean square over channels; zero while every token shows what some real frame showed. In
    the unit of the latents given: multiply by ``LatentSpec.scale`` for the tokenizer's own.
    """
    distance = (latent[:, None] - context).square().mean(dim=3).sqrt()
    return distance.min(dim=1).values.mean(dim=1)


def real_consistency(latents: Float[Tensor, "b t n d"], num_context: int) -> Float[Tensor, " k"]:
    """Return the reading of real frames that follow their context: what is usual.

    The gauge is divided by the median of these, so that 1 means "as far as real frames go".
    """
    context = latents[:, :num_context]
    later = [
        context_consistency(latents[:, step], context)
        for step in range(num_context, latents.shape[1])
    ]
    return torch.cat(later)
