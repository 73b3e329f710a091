"""A few short dreams after one action, and what they say: outcome, and readings of distrust.

Knows a world model by its protocol only. Nothing here judges: ``acceptance`` does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from reverie.core.errors import ConfigError
from reverie.hallucination.predictors import dispersion, root_mean_square, trace_instability
from reverie.models.api import WorldModel

READINGS = ("surprise", "u_r", "u_f", "u_s")
"""What ``judge_past`` and ``look_ahead`` read, the larger the less trustworthy."""
HINDCAST_STEPS = 3
"""Real frames at the end of a context that have to be predicted from those before."""

Choose = Callable[[Any, int], Float[Tensor, "r a"]]
"""Actions of all rows from their state and the number of the step, which begins at 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ForesightConfig:
    """How many dreams, and how far."""

    num_samples: int = 16
    """Dreams per row, under different noise; their spread is a reading."""
    horizon: int = 10
    """Steps of each."""

    def __post_init__(self) -> None:
        """Refuse spreads of a single sample."""
        if self.num_samples < 2 or self.horizon < 1:
            raise ConfigError(
                f"Foresight needs at least 2 samples and 1 step, got {self.num_samples} and "
                f"{self.horizon}. Try 16 and 10."
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Foresight:
    """What the dreams of each row said, as means over its samples."""

    rewards: Float[Tensor, "b h"]
    continues: Float[Tensor, "b h"]
    """Chance to go on after each step."""
    actions: Float[Tensor, "b h a"]
    """What the first sample of each row did."""
    readings: Mapping[str, Float[Tensor, "b h"]]
    """``u_f`` and ``u_s`` of each step; ``u_r``, which costs a decoder, of the first and the last
    one and 0 between. In the tokenizer's own units."""
    latents: Float[Tensor, "b h n d"]
    """Latents of the first sample of each row."""

    @property
    def survival(self) -> Float[Tensor, "b h"]:
        """Chance to be alive after each step."""
        return self.continues.cumprod(dim=1)

    @property
    def returns(self) -> Float[Tensor, " b"]:
        """Sum of rewards, each weighed by the chance to be alive."""
        return (self.rewards * self.survival).sum(dim=1)

    @property
    def largest(self) -> dict[str, Float[Tensor, " b"]]:
        """The largest reading of each kind over the steps."""
        return {name: values.amax(dim=1) for name, values in self.readings.items()}


@torch.no_grad()
def look_ahead(
    world: WorldModel,
    state: Any,
    choose: Choose,
    *,
    config: ForesightConfig,
    rng: torch.Generator,
) -> Foresight:
    """Dream on from every row of a state; the state itself is forked, not stepped.

    Args:
        world: Any world model.
        state: From ``world.start``.
        choose: Picks the actions; all samples of a row stand beside each other.
        config: Samples and steps.
        rng: Draws the noise.
    """
    num_rows, samples = state.num_rows, config.num_samples
    current: Any = state.fork(samples)
    lanes: dict[str, list[Tensor]] = {
        name: [] for name in ("rewards", "continues", "actions", "u_f", "latents")
    }
    for step in range(config.horizon):
        action = choose(current, step)
        noise = world.draw_noise(num_rows * samples, rng)
        current, prediction = world.step(current, action, noise)
        lanes["rewards"].append(prediction.reward)
        lanes["continues"].append(prediction.continues)
        lanes["actions"].append(action)
        lanes["u_f"].append(trace_instability(prediction.trace))
        lanes["latents"].append(prediction.latent)
    joined = {
        name: rearrange(values, "h (b s) ... -> s b h ...", s=samples)
        for name, values in lanes.items()
    }
    latents = joined["latents"][0]
    apart = dispersion(rearrange(joined["latents"], "s b h n d -> (b h) s n d"))
    scale = world.latent_spec.scale
    return Foresight(
        rewards=joined["rewards"].mean(dim=0),
        continues=joined["continues"].mean(dim=0),
        actions=joined["actions"][0],
        readings={
            "u_r": _round_trip(world, latents),
            "u_f": joined["u_f"].mean(dim=0) * scale,
            "u_s": rearrange(apart, "(b h) -> b h", b=num_rows) * scale,
        },
        latents=latents,
    )


@torch.no_grad()
def judge_past(
    world: WorldModel,
    past: Any,
    actions: Float[Tensor, "b k a"],
    real: Float[Tensor, "b k n d"],
    *,
    num_samples: int,
    rng: torch.Generator,
) -> Float[Tensor, " b"]:
    """Measure how far the last real frames are from what the model expected of them.

    The dream begins before those frames and takes the recorded actions; the distance is the root
    mean square between the mean dreamed latent and the real one, averaged over the frames, in the
    tokenizer's own units. A window that was tampered with, frozen or put out of order is far from
    what the model expects.

    Args:
        world: Any world model.
        past: From ``world.start`` on the frames before; it is forked.
        actions: Which led to the frames.
        real: Latents of the frames.
        num_samples: Dreams whose mean is the expectation.
        rng: Draws their noise.
    """
    num_rows, steps = real.shape[:2]
    state: Any = past.fork(num_samples)
    distances: list[Tensor] = []
    for step in range(steps):
        action = actions[:, step].repeat_interleave(num_samples, dim=0)
        drawn = world.draw_noise(num_rows * num_samples, rng)
        state, prediction = world.step(state, action, drawn)
        expected = rearrange(prediction.latent, "(b s) n d -> b s n d", s=num_samples).mean(dim=1)
        distances.append(root_mean_square(expected - real[:, step]))
    return torch.stack(distances).mean(dim=0) * world.latent_spec.scale


def _round_trip(world: WorldModel, latents: Float[Tensor, "b h n d"]) -> Float[Tensor, "b h"]:
    ends = sorted({0, latents.shape[1] - 1})
    flat = rearrange(latents[:, ends], "b e n d -> (b e) n d")
    residual = flat - world.tokenizer.round_trip(flat)
    distance = root_mean_square(residual) * world.latent_spec.scale
    found = torch.zeros_like(latents[:, :, 0, 0])
    found[:, ends] = rearrange(distance, "(b e) -> b e", e=len(ends))
    return found
