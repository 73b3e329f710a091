"""Whole populations of controllers, each acting in dreams of its own, in one batch."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from reverie.core.errors import ConfigError
from reverie.models.api import Gauge, StepContext
from reverie.models.classic.controller import ControllerConfig, act
from reverie.models.classic.world import ClassicState, ClassicWorld

LOST = 3.0
"""A latent whose norm is so many limits is no picture any more, and its dream counts as ended. One
dream in a thousand that flies off would otherwise outweigh all others by its fine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagineConfig:
    """How long a dream is and what it pays."""

    horizon: int
    """Steps after which a dream is cut; a cut is not a death."""
    ends: bool = True
    """Whether reward is weighed by the chance to be alive. Without, a task that pays 1 per step
    pays every controller alike."""
    norm_limit: float = float("inf")
    """Norm of the latent above which a step is fined; the 99 % quantile of real latents."""
    norm_fine: float = 0.01
    """Fine per unit of norm above the limit; a dream beyond ``LOST`` limits is over."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trust:
    """Weighs imagined reward by how real the dream still looks.

    The confidence q of a step is the sigmoid of minus the doubt; the weight is the smallest
    q / ``usual`` (at most 1) since the start. A running minimum, not a product, so that long dreams
    are not discounted; relative to the smallest reward, because a weighted fine would pay for
    drifting.
    """

    doubt: Gauge
    """Logit that a step was imagined, such as a verifier's."""
    usual: float = 0.5
    """Mean q of first steps of dreams: no step of a perfect model is more real than that."""
    reward_floor: float = 0.0
    """Smallest reward in the data; what a step pays that is not trusted at all."""

    def __post_init__(self) -> None:
        """Refuse a usual confidence that cannot be one."""
        if not 0 < self.usual <= 1:
            raise ConfigError(f"A usual confidence lies in (0, 1], got {self.usual}. Try 0.5.")

    def weigh(
        self, world: ClassicWorld, step: StepContext, weight: Float[Tensor, " r"]
    ) -> Float[Tensor, " r"]:
        """Return the weights after a step from those before."""
        confidence = torch.sigmoid(-self.doubt(world, step))
        return torch.minimum(weight, (confidence / self.usual).clamp_max(1.0))

    def pay(self, reward: Float[Tensor, " r"], weight: Float[Tensor, " r"]) -> Float[Tensor, " r"]:
        """Return what is left of a reward; with a weight of 1 all of it, bit for bit."""
        return reward - (1 - weight) * (reward - self.reward_floor)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Imagined:
    """What every candidate earned from every start."""

    returns: Float[Tensor, "s k"]
    """Sum of rewards, each weighed by the chance to be alive, less fines."""
    lifetimes: Float[Tensor, "s k"]
    """Expected number of steps lived."""


@torch.no_grad()
def imagine(
    world: ClassicWorld,
    starts: ClassicState,
    controller: ControllerConfig,
    parameters: Float[Tensor, "k p"],
    config: ImagineConfig,
    rng: torch.Generator,
    *,
    trust: Trust | None = None,
) -> Imagined:
    """Dream every candidate from every start; candidates share starts and noise.

    Args:
        world: The dream.
        starts: One row per start.
        controller: Common shape of the candidates.
        parameters: One vector per candidate.
        config: Horizon and fines.
        rng: Draws the noise: once per start, common to all candidates, so that they are compared
            on equal terms.
        trust: Weighs rewards by how real the dream still looks.

    Returns:
        Return and lifetime of each pair.
    """
    num_starts, num_candidates = starts.num_rows, parameters.shape[0]
    state: Any = starts.fork(num_candidates)
    alive = torch.ones(num_starts * num_candidates, device=world.device)
    weight = torch.ones_like(alive)
    returns, lifetimes = torch.zeros_like(alive), torch.zeros_like(alive)
    for _ in range(config.horizon):
        features = rearrange(world.features(state), "(s k) m -> s k m", s=num_starts)
        actions = rearrange(act(controller, parameters, features), "s k a -> (s k) a")
        noise = world.draw_noise(num_starts, rng).fork(num_candidates)
        before = state
        state, prediction = world.step(before, actions, noise)
        reward = prediction.reward
        if trust is not None:
            step = StepContext(before=before, action=actions, prediction=prediction, after=state)
            weight = trust.weigh(world, step, weight)
            reward = trust.pay(reward, weight)
        if config.ends:
            alive = alive * prediction.continues
        excess, is_lost = _excess(prediction.latent, config.norm_limit)
        alive = torch.where(is_lost, 0.0, alive)
        returns += torch.where(is_lost, 0.0, alive * reward)
        returns -= config.norm_fine * excess
        lifetimes += alive
    split = (rearrange(x, "(s k) -> s k", s=num_starts) for x in (returns, lifetimes))
    return Imagined(**dict(zip(("returns", "lifetimes"), split, strict=True)))


def _excess(
    latent: Float[Tensor, "b n d"], limit: float
) -> tuple[Float[Tensor, " b"], Bool[Tensor, " b"]]:
    """Return by how much norms exceed the limit, at most ``LOST - 1`` limits, and who is lost."""
    norm = latent.flatten(1).square().sum(dim=1).sqrt()
    # What is not a number is lost, too.
    is_lost = ~(norm <= LOST * limit)
    if math.isinf(limit):
        return torch.zeros_like(norm), is_lost
    return torch.where(is_lost, LOST * limit, norm).sub(limit).clamp_min(0), is_lost
