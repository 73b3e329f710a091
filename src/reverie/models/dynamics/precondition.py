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


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """What the frame before says of a frame, whatever the noise in that frame."""

    mean: Float[Tensor, "b t n d"]
    """Precision times estimate."""
    precision: Float[Tensor, "b t"]

    @staticmethod
    def of(previous: Previous) -> "Prior":
        """Take the previous frame as an estimate.

        Latents have unit variance. The previous frame at signal p estimates itself with variance
        (1-p)^2 / (p^2 + (1-p)^2); motion adds ``MOTION_VARIANCE``.
        """
        signal, known = previous.signal, previous.is_known
        power = signal**2 + (1 - signal) ** 2
        variance = (1 - signal) ** 2 / power + MOTION_VARIANCE
        precision = (known / variance) + (~known).float()
        gain = _per_frame(precision * known * signal / power, previous.latents)
        return Prior(gain * previous.latents, precision)

    def guess(self, noisy: Float[Tensor, "b t n d"], signal: Float[Tensor, "b t"]) -> Guess:
        """Combine the noisy frame and the one before it by their precisions.

        The noisy frame at signal s observes the clean one with precision s^2 / (1-s)^2.
        """
        seen = signal / (1 - signal) ** 2
        variance = (self.precision + seen * signal).reciprocal()
        mean = self.mean + _per_frame(seen, noisy) * noisy
        return Guess(_per_frame(variance, noisy) * mean, _per_frame(variance.sqrt(), noisy))


def _per_frame(
    numbers: Float[Tensor, "b t"], like: Float[Tensor, "b t n d"]
) -> Float[Tensor, "b t 1 1"]:
    return numbers[:, :, None, None].to(like.dtype)
