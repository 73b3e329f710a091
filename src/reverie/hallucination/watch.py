"""Everything that can be seen, without truth, while a dream runs: one row of signals a step.

A gauge sees one step. Some evidence needs more: the real context the dream began from, and twins
that dream on beside it under other noise. ``Watch`` holds both and is a value like a rollout
state: ``observe`` returns the next one, and it forks with the dream.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from reverie.core.batch import Batch
from reverie.core.errors import ShapeError
from reverie.hallucination.consistency import context_consistency
from reverie.hallucination.predictors import (
    dispersion,
    flow_instability,
    motion,
    probe_noise,
    root_mean_square,
    round_trip_residual,
)
from reverie.models.api import StepContext, WorldModel

SIGNALS = (
    *("u_r", "u_f", "u_s", "m", "consistency", "response", "action_size"),
    *("moved_mse", "twin_mse", "ceiling_mse", "hindcast_mse", "hindcast_still_mse", "step"),
    *("twin_still_mse", "twin_raw_mse", "twin_spread_mse", "twin_worst_db"),
    *("frame_motion_mse", "context_motion_mse"),
)
"""What ``observe`` gives, by name; see the fields of ``Watch`` and ``_signals``."""
NUM_TWINS = 3
"""Dreams beside the dream, as samples of what could be true; side by side they cost one call. How
many there are changes what the signals mean, so a calibration keeps its own number."""
HINDCAST_STEPS = 4
"""Real frames at the end of the context that the model has to predict from those before."""
SMALLEST_MSE = 1e-6
"""Added to both errors of a gain, as in the truth that it stands for."""
SMALL_ACTION = 0.1
"""An action smaller than this (root mean square) is not flipped but exchanged for a large one."""
LARGE_ACTION = 0.7


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Watch:
    """What is remembered of a dream in order to judge it. A value."""

    context: Float[Tensor, "b t n d"]
    """Latents of the real frames that the dream began from, in model units."""
    shown: UInt8[Tensor, "b h w 3"]
    """The last real frame as the tokenizer shows it."""
    last_real: UInt8[Tensor, "b h w 3"]
    picture: UInt8[Tensor, "b h w 3"]
    """What was shown last: the dream's previous frame."""
    context_motion_mse: Float[Tensor, " b"]
    """Mean squared change from one real frame of the context to the next."""
    ceiling_mse: Float[Tensor, " b"]
    """Error of the tokenizer on the real context: what no dream can be better than."""
    hindcast_mse: Float[Tensor, " b"]
    """Error of a short dream inside the real context, where the truth is known."""
    hindcast_still_mse: Float[Tensor, " b"]
    """Error of a repeated decoded frame over the same frames."""
    twins: Any
    """Rollout state of ``num_twins`` dreams a row from the same context under other noises."""
    num_twins: int = NUM_TWINS
    num_steps: int = 0

    @classmethod
    @torch.no_grad()
    def begin(
        cls, world: WorldModel, context: Batch, state: Any, *, num_twins: int = NUM_TWINS
    ) -> "Watch":
        """Look at the real context that ``state`` was started from.

        Args:
            world: The model.
            context: What ``world.start`` was given.
            state: What it returned, not stepped yet; it is forked.
            num_twins: Dreams beside each dream, at least 2.
        """
        if context.frames is None:
            raise ShapeError("A watch begins from real frames, but this batch has none.")
        used = min(context.num_frames, world.max_context)
        context = context.slice_time(context.num_frames - used, context.num_frames)
        context = context.to(world.device)
        assert context.frames is not None
        latents, _ = world.tokenizer.encode(context.frames)
        painted, _ = world.tokenizer.decode(latents)
        dreamed, still = _hindcast(world, context, painted)
        shown = world.decode(state)
        return cls(
            context=latents,
            shown=shown,
            last_real=context.frames[:, -1],
            picture=shown,
            context_motion_mse=_motion_mse(context.frames),
            ceiling_mse=frame_mse(painted, context.frames).mean(dim=1),
            hindcast_mse=dreamed,
            hindcast_still_mse=still,
            twins=state.fork(num_twins),
            num_twins=num_twins,
        )

    @torch.no_grad()
    def observe(
        self, world: WorldModel, step: StepContext
    ) -> tuple["Watch", dict[str, Float[Tensor, " b"]]]:
        """Take in one dreamed step; return the next watch and the signals of the step.

        Neither the dream's state nor its later steps are changed. Costs ``num_twins`` + 2 more
        dreamed rows.
        """
        noise = probe_noise(
            world,
            frame_index=step.before.num_frames,
            num_rows=step.before.num_rows,
            num_seeds=self.num_twins,
            purpose="twin",
        )
        twins, _ = world.step(
            self.twins, step.action.repeat_interleave(self.num_twins, dim=0), noise
        )
        picture = world.decode(step.after)
        seen = {
            **_step_signals(world, step),
            "consistency": context_consistency(step.prediction.latent, self.context)
            * world.latent_spec.scale,
            "moved_mse": frame_mse(picture, self.shown),
            **self._twin_signals(picture, world.decode(twins)),
            "frame_motion_mse": frame_mse(picture, self.picture),
            "context_motion_mse": self.context_motion_mse,
            "ceiling_mse": self.ceiling_mse,
            "hindcast_mse": self.hindcast_mse,
            "hindcast_still_mse": self.hindcast_still_mse,
            "step": torch.full_like(self.ceiling_mse, self.num_steps + 1),
        }
        after = replace(self, twins=twins, picture=picture, num_steps=self.num_steps + 1)
        return after, {name: seen[name] for name in SIGNALS}

    def _twin_signals(
        self, picture: UInt8[Tensor, "b h w 3"], twins: UInt8[Tensor, "bs h w 3"]
    ) -> dict[str, Float[Tensor, " b"]]:
        """Take each twin for the truth: what would the dream err, and what the still frame?"""
        others = rearrange(twins, "(b s) h w c -> b s h w c", s=self.num_twins)
        of_dream = frame_mse(picture[:, None].expand_as(others), others)
        of_still = frame_mse(self.shown[:, None].expand_as(others), others)
        of_raw = frame_mse(self.last_real[:, None].expand_as(others), others)
        apart = frame_mse(others, others.roll(1, dims=1))
        floor = self.ceiling_mse[:, None] + SMALLEST_MSE
        gains = 10.0 * torch.log10((of_still + floor) / (of_dream + floor))
        return {
            "twin_mse": of_dream.mean(dim=1),
            "twin_still_mse": of_still.mean(dim=1),
            "twin_raw_mse": of_raw.mean(dim=1),
            "twin_spread_mse": apart.mean(dim=1),
            "twin_worst_db": gains.min(dim=1).values,
        }

    def fork(self, num_copies: int) -> "Watch":
        """Repeat every row ``num_copies`` times, as a rollout state does."""
        rows = [row for row in range(len(self.ceiling_mse)) for _ in range(num_copies)]
        # Twins of one row lie side by side, so copying row by row keeps them together.
        return self._pick(rows, self.twins.select(self._twin_rows(rows)))

    def select(self, rows: list[int]) -> "Watch":
        """Keep the given rows, in the given order."""
        return self._pick(rows, self.twins.select(self._twin_rows(rows)))

    def _pick(self, rows: list[int], twins: Any) -> "Watch":
        return replace(
            self,
            context=self.context[rows],
            shown=self.shown[rows],
            last_real=self.last_real[rows],
            picture=self.picture[rows],
            context_motion_mse=self.context_motion_mse[rows],
            ceiling_mse=self.ceiling_mse[rows],
            hindcast_mse=self.hindcast_mse[rows],
            hindcast_still_mse=self.hindcast_still_mse[rows],
            twins=twins,
        )

    def _twin_rows(self, rows: list[int]) -> list[int]:
        return [row * self.num_twins + twin for row in rows for twin in range(self.num_twins)]


def _motion_mse(frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, " b"]:
    """Return the mean squared change from frame to frame; NaN for a single frame."""
    return frame_mse(frames[:, 1:], frames[:, :-1]).mean(dim=1)


def frame_mse(
    first: UInt8[Tensor, "*any h w 3"], second: UInt8[Tensor, "*any h w 3"]
) -> Float[Tensor, "*any"]:
    """Return the mean squared difference of pictures, in [0, 1] units."""
    return ((first.float() - second.float()) / 255.0).square().mean(dim=(-3, -2, -1))


def other_action(action: Float[Tensor, "b a"]) -> Float[Tensor, "b a"]:
    """Return an action that differs clearly: the opposite, or a large one instead of a small."""
    is_small = root_mean_square(action)[:, None] < SMALL_ACTION
    return torch.where(is_small, torch.full_like(action, LARGE_ACTION), -action)


def _step_signals(world: WorldModel, step: StepContext) -> dict[str, Float[Tensor, " b"]]:
    """Read the predictors, and how much another action would have changed, with one fork."""
    noise = probe_noise(
        world, frame_index=step.before.num_frames, num_rows=step.before.num_rows, num_seeds=1
    )
    pair = torch.stack([step.action, other_action(step.action)], dim=1).flatten(0, 1)
    _, probe = world.step(step.before.fork(2), pair, noise.fork(2))
    same, other = probe.latent[0::2], probe.latent[1::2]
    samples = torch.stack([step.prediction.latent, same], dim=1)
    scale = world.latent_spec.scale
    return {
        "u_r": round_trip_residual(world, step),
        "u_f": flow_instability(world, step),
        "u_s": dispersion(samples) * scale,
        "m": motion(world, step),
        "response": root_mean_square(same - other) * scale,
        "action_size": root_mean_square(step.action),
    }


def _hindcast(
    world: WorldModel, context: Batch, painted: UInt8[Tensor, "b t h w 3"]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Dream the last frames of the context from those before; NaN where there are too few."""
    assert context.frames is not None
    num_known = context.num_frames - HINDCAST_STEPS
    if num_known < 1:
        unknown = torch.full((context.num_rows,), torch.nan, device=world.device)
        return unknown, unknown.clone()
    # One noise for all rows, so that rows do not see each other.
    rng = torch.Generator(device=world.device)
    rng.manual_seed(0)
    noise = world.draw_context_noise(1, num_known, rng)
    noise = noise.expand(context.num_rows, *noise.shape[1:])
    state = world.start(context.slice_time(0, num_known), noise)
    truth = context.frames[:, num_known:]
    errors: list[Float[Tensor, " b"]] = []
    for index in range(HINDCAST_STEPS):
        drawn = probe_noise(
            world, frame_index=index, num_rows=context.num_rows, num_seeds=1, purpose="hindcast"
        )
        state, _ = world.step(state, context.prev_actions[:, num_known + index], drawn)
        errors.append(frame_mse(world.decode(state), truth[:, index]))
    still = frame_mse(painted[:, num_known - 1 : num_known].expand_as(truth), truth)
    return torch.stack(errors, dim=1).mean(dim=1), still.mean(dim=1)
