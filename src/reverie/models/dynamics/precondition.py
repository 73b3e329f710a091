"""A first guess of the clean frame, so that the network only has to predict what is left of it.

Two things are known of a frame before any network runs: its noisy latent, and the frame before
it, which it mostly equals. Their best linear combination is the guess; the network predicts the
rest, divided by the expected size of the rest (the idea of Karras et al., arXiv 2206.00364,
extended by the previous frame).

Differs from the paper: Dreamer 4 predicts the clean latent itself. Successive frames of a game
differ by about a hundredth of a latent's variance, so such a network must first learn to copy to
two digits before actions matter at all; on a CPU that takes most of the training.
"""

from dataclasses import dataclass

from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

MOTION_VARIANCE = 0.02
"""Expected mean squared change of a latent from one frame to the next, unit-variance latents."""


@dataclass(frozen=True, slots=True, eq=False)
class Previous:
    """What a frame knows of the frame before it."""

    latents: Float[Tensor, "b t n d"]
    """As the network saw them: at some signal."""
    signal: Float[Tensor, "b t"]
    is_known: Bool[Tensor, "b t"]
    """False at the start of a window and in image-only rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Guess:
    """A linear estimate of clean latents."""

    mean: Float[Tensor, "b t n d"]
    std: Float[Tensor, "b t 1 1"]
    """Expected root mean squared error of ``mean``."""


def guess_clean(
    noisy: Float[Tensor, "b t n d"], signal: Float[Tensor, "b t"], previous: Previous
) -> Guess:
    """Combine the noisy frame and the one before it by their precisions.

    Latents have unit variance. The previous frame at signal p estimates itself with variance
    (1-p)^2 / (p^2 + (1-p)^2); motion adds ``MOTION_VARIANCE``. The noisy frame at signal s
    observes the clean one with precision s^2 / (1-s)^2.
    """
    prior = previous.signal
    power = prior**2 + (1 - prior) ** 2
    variance = (1 - prior) ** 2 / power + MOTION_VARIANCE
    known = previous.is_known
    precision_before = (known / variance) + (~known).float()
    gain = precision_before * known * prior / power
    precision_seen = (signal / (1 - signal)) ** 2
    total = precision_before + precision_seen
    from_before = rearrange(gain / total, "b t -> b t 1 1").to(noisy.dtype)
    from_noisy = rearrange(signal / (1 - signal) ** 2 / total, "b t -> b t 1 1").to(noisy.dtype)
    std = rearrange(total.rsqrt(), "b t -> b t 1 1").to(noisy.dtype)
    return Guess(from_before * previous.latents + from_noisy * noisy, std)
