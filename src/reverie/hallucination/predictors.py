"""Raw readings: label-free numbers that predict where a dream goes wrong (arXiv 2606.27326).

All are root mean squares over the entries of a latent, in the tokenizer's own units (model units
times ``LatentSpec.scale``), so that thresholds do not depend on how a model scales its latents.
"""

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from reverie.core.seeds import child_seed
from reverie.models.api import Noise, StepContext, WorldModel

NUM_SEEDS = 2
"""Samples that the dispersion compares, the dreamed one included; two cost one more dream."""
PROBE_ROOT_SEED = 20260718
"""Root of the noises that the dispersion dreams with; fixed, so that readings can be repeated."""


def root_mean_square(values: Float[Tensor, "b ..."]) -> Float[Tensor, " b"]:
    """Return the root mean square of each row."""
    return values.flatten(1).square().mean(dim=1).sqrt()


def round_trip_residual(world: WorldModel, context: StepContext) -> Float[Tensor, " b"]:
    """Measure u_r, how far the new latent is from Enc(Dec(latent)).

    A latent that the tokenizer never makes does not survive the trip.

    # Differs from the paper: its release takes the mean of several samples, which is no sample.
    """
    latent = context.prediction.latent
    residual = latent - world.tokenizer.round_trip(latent)
    return root_mean_square(residual) * world.latent_spec.scale


def flow_instability(world: WorldModel, context: StepContext) -> Float[Tensor, " b"]:
    """Measure u_f, how much the clean estimate still moves in the later half of the substeps.

    NaN where a dream takes a single substep.
    """
    return trace_instability(context.prediction.trace) * world.latent_spec.scale


def trace_instability(trace: Float[Tensor, "b k n d"]) -> Float[Tensor, " b"]:
    """Return ``flow_instability`` of traces alone, in model units."""
    num_substeps = trace.shape[1]
    if num_substeps < 2:
        return torch.full_like(trace[:, 0, 0, 0], torch.nan)
    moves = (trace[:, 1:] - trace[:, :-1]).flatten(2).square().mean(dim=2).sqrt()
    # moves[:, i - 1] is the move of substep i; the last half of them counts.
    return moves[:, (num_substeps - 1) // 2 :].mean(dim=1)


def motion(world: WorldModel, context: StepContext) -> Float[Tensor, " b"]:
    """Measure m, how far the latent moved in this step."""
    return root_mean_square(context.after.latent - context.before.latent) * world.latent_spec.scale


def seed_dispersion(
    world: WorldModel, context: StepContext, num_seeds: int = NUM_SEEDS
) -> Float[Tensor, " b"]:
    """Measure u_s, the spread of what the same step becomes under other noises.

    The dreamed latent is one sample; ``num_seeds - 1`` others are dreamed from a fork. Their noises
    depend on the frame's index alone and are the same for all rows, so rows never see each other.
    NaN with fewer than two samples.

    # Differs from the paper: the root of the mean unbiased variance, which has a latent's unit; the
    # release gives the mean variance.
    """
    dreamed = context.prediction.latent
    if num_seeds < 2:
        return torch.full_like(dreamed[:, 0, 0], torch.nan)
    num_others = num_seeds - 1
    noise = probe_noise(
        world,
        frame_index=context.before.num_frames,
        num_rows=dreamed.shape[0],
        num_seeds=num_others,
    )
    actions = context.action.repeat_interleave(num_others, dim=0)
    _, prediction = world.step(context.before.fork(num_others), actions, noise)
    others = rearrange(prediction.latent, "(b s) n d -> b s n d", s=num_others)
    samples = torch.cat([dreamed[:, None], others], dim=1)
    return dispersion(samples) * world.latent_spec.scale


def dispersion(samples: Float[Tensor, "b s n d"]) -> Float[Tensor, " b"]:
    """Return the root of the mean unbiased variance over samples."""
    return samples.var(dim=1, unbiased=True).flatten(1).mean(dim=1).sqrt()


def probe_noise(
    world: WorldModel,
    *,
    frame_index: int,
    num_rows: int,
    num_seeds: int,
    purpose: str = "dispersion",
) -> Noise:
    """Draw fixed noises: ``num_seeds`` for one row, repeated for every row.

    Args:
        world: Says where the noise lives and what shape it has.
        frame_index: Index of the dreamed frame; other frames get other noises.
        num_rows: Rows of the state that will be forked.
        num_seeds: Noises per row.
        purpose: Other purposes get other noises.
    """
    rng = torch.Generator(device=world.device)
    rng.manual_seed(child_seed(PROBE_ROOT_SEED, purpose, frame_index))
    drawn = world.draw_noise(num_seeds, rng)
    return Noise(
        start=repeat(drawn.start, "s n d -> (b s) n d", b=num_rows),
        commit=repeat(drawn.commit, "s n d -> (b s) n d", b=num_rows),
    )
