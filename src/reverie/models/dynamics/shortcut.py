"""The maths of shortcut flow, without a network (Frans et al., arXiv 2410.12557; Dreamer 4).

Integers are the truth: a frame's noise label is a ``signal_level`` (0 … N-1, where 0 is pure
noise) and a ``step_exponent`` (0 … log2 N; the step is 2 ** -exponent long). There is no label
for a clean frame.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from reverie.core.errors import ConfigError

Denoise = Callable[
    [Float[Tensor, "b t n d"], Int[Tensor, "b t"], Int[Tensor, "b t"]], Float[Tensor, "b t n d"]
]
"""Maps (noisy latents, signal levels, step exponents) to a prediction of the clean latents."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShortcutConfig:
    """The grid of signals and step sizes that shortcut flow trains on."""

    num_levels: int = 64
    """N: signals are multiples of 1 / N. A power of two, so that steps can be halved."""

    def __post_init__(self) -> None:
        """Refuse grids that cannot be halved down to one level."""
        if self.num_levels < 2 or self.num_levels.bit_count() != 1:
            raise ConfigError(
                f"num_levels must be a power of two from 2 up, got {self.num_levels}. Try 64."
            )

    @property
    def finest_exponent(self) -> int:
        """Exponent of the smallest step, 1 / N."""
        return self.num_levels.bit_length() - 1


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The noise label of every frame of a batch."""

    signal_level: Int[Tensor, "b t"]
    step_exponent: Int[Tensor, "b t"]

    def rows(self, index: slice) -> "Labels":
        """Return a slice of the rows."""
        return Labels(self.signal_level[index], self.step_exponent[index])


@dataclass(frozen=True, kw_only=True, slots=True)
class ShortcutFlow:
    """Straight paths from noise to data, and steps of halving sizes along them."""

    config: ShortcutConfig

    def signal(self, level: Int[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        """Return levels as signals in [0, 1)."""
        # Only where looking is free: on an accelerator the queue would run dry for it.
        is_cheap = level.device.type == "cpu"
        if is_cheap and bool(((level < 0) | (level >= self.config.num_levels)).any()):
            raise ConfigError(
                f"Signal levels lie in 0 … {self.config.num_levels - 1}, got "
                f"{int(level.min())} … {int(level.max())}. A clean frame has no label."
            )
        return level.float() / self.config.num_levels

    def corrupt(
        self,
        clean: Float[Tensor, "b t n d"],
        noise: Float[Tensor, "b t n d"],
        level: Int[Tensor, "b t"],
    ) -> Float[Tensor, "b t n d"]:
        """Move along the straight path from noise (level 0) towards data.

        Args:
            clean: Latents at unit std.
            noise: Standard normal; passed in, so that a test can fix it.
            level: One signal level per frame.
        """
        weight = rearrange(self.signal(level), "b t -> b t 1 1").to(clean.dtype)
        return weight * clean + (1 - weight) * noise

    def loss_weight(self, level: Int[Tensor, "b t"]) -> Float[Tensor, "b t"]:
        """Return the ramp 0.9 * signal + 0.1: errors near the data matter most (Dreamer 4)."""
        return 0.9 * self.signal(level) + 0.1

    def draw_level(
        self, step_exponent: Int[Tensor, "b t"], rng: torch.Generator
    ) -> Int[Tensor, "b t"]:
        """Draw each frame's level uniformly from the multiples of its own step below 1."""
        share = torch.rand(step_exponent.shape, generator=rng, device=rng.device)
        num_steps = 2**step_exponent
        index = (share.to(step_exponent.device) * num_steps).long().clamp_max(num_steps - 1)
        return index * (self.config.num_levels // num_steps)

    def draw_coarse_exponent(
        self, shape: tuple[int, int], rng: torch.Generator
    ) -> Int[Tensor, "b t"]:
        """Draw exponents of steps coarser than the finest, each equally likely."""
        return torch.randint(
            0, self.config.finest_exponent, shape, generator=rng, device=rng.device
        )

    @torch.no_grad()
    def bootstrap_target(
        self,
        denoise: Denoise,
        noisy: Float[Tensor, "b t n d"],
        labels: Labels,
        clean: Float[Tensor, "b t n d"],
        limit: float,
    ) -> Float[Tensor, "b t n d"]:
        """Return what one step must predict to land where two half steps land.

        With c = step / (1 - signal) the target is ((1 - c) * f1 + f2) / (2 - c): a convex
        combination of the two half-step predictions, so nothing is divided by a small number.
        Frames at the finest step keep ``clean`` as their target and never move.

        Args:
            denoise: The teacher.
            noisy: Corrupted latents at ``labels``.
            labels: Labels of the student's step.
            clean: True latents, the target of finest frames.
            limit: Teacher predictions are clamped to [-limit, limit].
        """
        finest = self.config.finest_exponent
        is_coarse = labels.step_exponent < finest
        half = torch.where(is_coarse, labels.step_exponent + 1, finest)
        half_levels = torch.where(is_coarse, self.config.num_levels // 2**half, 0)
        first = denoise(noisy, labels.signal_level, half).clamp(-limit, limit)
        signal = self.signal(labels.signal_level)
        # Single precision for half-precision latents, double for double.
        wide = torch.promote_types(noisy.dtype, torch.float32)
        moved_share = half_levels.to(wide) / self.config.num_levels / (1 - signal.to(wide))
        moved = _lerp(noisy, first, moved_share)
        second = denoise(moved, labels.signal_level + half_levels, half).clamp(-limit, limit)
        step_share = rearrange(2 * moved_share, "b t -> b t 1 1").to(first.dtype)
        target = ((1 - step_share) * first + second) / (2 - step_share)
        return torch.where(rearrange(is_coarse, "b t -> b t 1 1"), target, clean)

    def integrate(
        self,
        denoise: Denoise,
        noise: Float[Tensor, "b t n d"],
        num_steps: int,
        limit: float,
        num_skipped: int = 0,
    ) -> tuple[Float[Tensor, "b t n d"], Float[Tensor, "b k t n d"]]:
        """Walk from noise to data in ``num_steps`` equal steps.

        Labels say where the latent is, not where it goes. The last step returns the clean
        prediction itself.

        Args:
            denoise: The denoiser.
            noise: Where the walk starts.
            num_steps: Steps of the whole walk, a power of two.
            limit: Clean predictions are clamped to [-limit, limit].
            num_skipped: Steps that ``noise`` is already ahead: a warm start.

        Returns:
            The sample, and the clean prediction after each step.
        """
        self.check_num_steps(num_steps)
        exponent = torch.full(noise.shape[:2], num_steps.bit_length() - 1, device=noise.device)
        stride = self.config.num_levels // num_steps
        current, trace = noise, []
        for index in range(num_skipped, num_steps):
            level = torch.full_like(exponent, index * stride)
            clean = denoise(current, level, exponent).clamp(-limit, limit)
            current = current + (clean - current) / (num_steps - index)
            trace.append(clean)
        return trace[-1], torch.stack(trace, dim=1)

    def check_num_steps(self, num_steps: int) -> None:
        """Refuse step counts that are not on the trained grid."""
        if num_steps < 1 or num_steps.bit_count() != 1 or num_steps > self.config.num_levels:
            raise ConfigError(
                f"The number of flow steps must be a power of two up to "
                f"{self.config.num_levels}, got {num_steps}. Try 4."
            )


def _lerp(
    start: Float[Tensor, "b t n d"], end: Float[Tensor, "b t n d"], share: Float[Tensor, "b t"]
) -> Float[Tensor, "b t n d"]:
    weight = rearrange(share, "b t -> b t 1 1").to(start.dtype)
    return start + weight * (end - start)


def is_finest(labels: Labels, config: ShortcutConfig) -> Bool[Tensor, "b t"]:
    """Tell which frames carry the finest step."""
    return labels.step_exponent == config.finest_exponent
