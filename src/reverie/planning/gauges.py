"""Gauges to plan with, beside the predictors: reward, a goal picture, sums of others."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from reverie.core.errors import ConfigError, ShapeError
from reverie.models.api import Gauge, StepContext, WorldModel


def reward(world: WorldModel, context: StepContext) -> Float[Tensor, " b"]:
    """Read the expected raw reward of the step."""
    return context.prediction.reward


def goal_distance(goal: Float[Tensor, "n d"]) -> Gauge:
    """Make a gauge that reads minus the distance to a goal latent, in the tokenizer's own units.

    Args:
        goal: Latent of the picture to be reached, in model units; ``goal_latent`` makes one.
    """

    def gauge(world: WorldModel, context: StepContext) -> Float[Tensor, " b"]:
        difference = context.prediction.latent - goal.to(context.prediction.latent)
        distance = difference.flatten(1).square().mean(dim=1).sqrt()
        return -distance * world.latent_spec.scale

    return gauge


def goal_latent(world: WorldModel, picture: Tensor) -> Float[Tensor, "n d"]:
    """Encode the picture (h w 3, uint8) of a goal.

    Raises:
        ShapeError: It has another size than the model's frames.
    """
    if tuple(picture.shape) != world.tokenizer.frame_spec.shape:
        raise ShapeError(
            f"The goal picture is {tuple(picture.shape)}, the model sees "
            f"{world.tokenizer.frame_spec.shape}. Resize it first."
        )
    latents, _ = world.tokenizer.encode(picture[None, None].to(world.device))
    return latents[0, 0]


def weighted(parts: Mapping[Gauge, float]) -> Gauge:
    """Make a gauge that reads the weighted sum of others; a weight below 0 avoids its gauge."""

    def gauge(world: WorldModel, context: StepContext) -> Float[Tensor, " b"]:
        readings = [weight * part(world, context) for part, weight in parts.items()]
        return torch.stack(readings).sum(dim=0)

    return gauge


def ramp(gauge: Gauge, *, low: float, high: float) -> Gauge:
    """Make a doubt in [0, 1] of any gauge: 0 up to ``low``, 1 from ``high`` on, linear between.

    No probability: a stand-in where none was calibrated. ``low`` and ``high`` come from dreams
    that did not diverge, such as a model's limits for the page.

    Raises:
        ConfigError: The limits are not in order.
    """
    if not low < high:
        raise ConfigError(f"A ramp rises from low to high, got {low} and {high}.")

    def doubt(world: WorldModel, context: StepContext) -> Float[Tensor, " b"]:
        return ((gauge(world, context) - low) / (high - low)).clamp(0.0, 1.0)

    return doubt
