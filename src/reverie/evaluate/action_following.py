"""Does the dream listen? Errors under the true actions against errors under other ones."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from reverie.core.batch import Batch
from reverie.core.seeds import numpy_rng
from reverie.evaluate.clips import Clips
from reverie.evaluate.metrics import IGNORED_RATIO, action_ratio, window_ratios
from reverie.evaluate.rollout import ClipNoise
from reverie.models.api import RolloutState, WorldModel

MIN_DIFFERENCE = 0.1
"""A donor's action differs by more than this in some valid lane."""
Variant = Literal["zero", "time", "sequence"]
LATER_STEPS = 4
"""Dreamed steps of the ratio for games whose next frame cannot show the last action."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FollowingConfig:
    """Which windows are stepped, and under which actions."""

    context: int = 8
    stride: int = 4
    """Frames between windows of one clip."""
    seed: int = 0
    batch_rows: int = 32
    variants: tuple[Variant, ...] = ("zero", "time", "sequence")
    """What is measured besides the exchanged last action."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Following:
    """Squared latent errors of the windows of one task under several actions."""

    task: str
    true: Float[np.ndarray, " w"]
    """One step ahead from true context, under the true action."""
    others: Mapping[str, Float[np.ndarray, " w"]]
    """One step ahead, same noise, other action; NaN where a window has no donor. ``shuffled``: the
    last action of another window; ``zero``; ``time``: of another moment of the same clip;
    ``sequence``: context and last action of another window."""
    true_later: Float[np.ndarray, " w"]
    """At the fourth dreamed step."""
    shuffled_later: Float[np.ndarray, " w"]
    """At the fourth dreamed step, all four actions from another window."""

    @property
    def ratio(self) -> float:
        """The action-shuffle ratio; up to 1.1 the action is ignored, NaN if actions do not vary."""
        return action_ratio(self.true, self.others["shuffled"])

    @property
    def ratio_later(self) -> float:
        """The same at the fourth step under four exchanged actions."""
        return action_ratio(self.true_later, self.shuffled_later)

    def ratio_of(self, variant: str) -> float:
        """Return the ratio of one variant, NaN where it was not measured."""
        return action_ratio(self.true, self.others[variant]) if variant in self.others else np.nan

    @property
    def num_without_donor(self) -> int:
        """Windows that found no other action to exchange, and were left out."""
        return int(np.isnan(self.others["shuffled"]).sum())

    @property
    def ignored(self) -> Float[np.ndarray, " w"]:
        """1 where a window's own ratio is up to 1.1, NaN where it has none."""
        ratios = window_ratios(self.true, self.others["shuffled"])
        return np.where(np.isnan(ratios), np.nan, (ratios <= IGNORED_RATIO).astype(np.float64))


@torch.inference_mode()
def follow_actions(
    world: WorldModel,
    clips: Clips,
    latents: Float[Tensor, "b t n d"],
    config: FollowingConfig,
) -> Following:
    """Step every window under its own and under exchanged actions.

    Args:
        world: The model.
        clips: Clips of one task.
        latents: True latents of the clips, in model units.
        config: Windows and noise.
    """
    windows = _Windows.of(world, clips, latents, config)
    donors = find_donors(windows.flat_actions(1), windows.flat_lanes(1), seed=config.seed)
    later = find_donors(
        windows.flat_actions(LATER_STEPS), windows.flat_lanes(LATER_STEPS), seed=config.seed
    )
    parts: list[dict[str, Float[np.ndarray, " w"]]] = []
    for begin in range(0, windows.count, config.batch_rows):
        rows = np.arange(begin, min(begin + config.batch_rows, windows.count))
        parts.append(_measure_part(world, windows, rows, donors=donors, later=later))
    errors = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for name, chosen in (("shuffled", donors), ("sequence", donors), ("shuffled_later", later)):
        if name in errors:
            errors[name][chosen < 0] = np.nan
    return Following(
        task=clips.task,
        true=errors.pop("true"),
        true_later=errors.pop("true_later"),
        shuffled_later=errors.pop("shuffled_later"),
        others=errors,
    )


def find_donors(
    actions: Float[np.ndarray, "w a"], lanes: Bool[np.ndarray, "w a"], *, seed: int
) -> Int64[np.ndarray, " w"]:
    """Choose for every window another one whose action is clearly different.

    Args:
        actions: One a window, padded; several actions may be laid side by side.
        lanes: True on valid lanes.
        seed: Of the choice among all that qualify.

    Returns:
        Index of the donor, -1 where no window differs by more than 0.1 in some valid lane.
    """
    rng = numpy_rng(seed, "donors")
    donors = np.full(len(actions), -1, dtype=np.int64)
    for window, own in enumerate(actions):
        distance = np.where(lanes[window], np.abs(actions - own), 0.0).max(axis=1)
        candidates = np.flatnonzero(distance > MIN_DIFFERENCE)
        if candidates.size:
            donors[window] = rng.choice(candidates)
    return donors


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Windows:
    """Frames to predict, each with its context before it and its actions from there on."""

    batch: Batch
    latents: Float[Tensor, "b t n d"]
    clip: Int64[np.ndarray, " w"]
    frame: Int64[np.ndarray, " w"]
    context: int
    config: FollowingConfig

    @classmethod
    def of(
        cls,
        world: WorldModel,
        clips: Clips,
        latents: Float[Tensor, "b t n d"],
        config: FollowingConfig,
    ) -> "_Windows":
        context = min(config.context, world.max_context, clips.num_frames - LATER_STEPS)
        frames = np.arange(context, clips.num_frames - LATER_STEPS + 1, config.stride)
        clip, frame = np.meshgrid(np.arange(clips.num_clips), frames, indexing="ij")
        return cls(
            batch=clips.batch.to(world.device),
            latents=latents,
            clip=clip.reshape(-1),
            frame=frame.reshape(-1),
            context=context,
            config=config,
        )

    @property
    def count(self) -> int:
        return len(self.clip)

    def actions(self, rows: Int64[np.ndarray, " r"], offset: int) -> Float[Tensor, "r a"]:
        return self.batch.prev_actions[self.clip[rows], self.frame[rows] + offset]

    def truth(self, rows: Int64[np.ndarray, " r"], offset: int) -> Float[Tensor, "r n d"]:
        return self.latents[self.clip[rows], self.frame[rows] + offset]

    def contexts(self, rows: Int64[np.ndarray, " r"]) -> Batch:
        times = self.frame[rows][:, None] + np.arange(-self.context, 0)[None]
        clip = self.clip[rows][:, None]
        picked = self.batch.select(self.clip[rows].tolist())
        assert self.batch.frames is not None, "clips are always cut with their frames"
        return replace(
            picked,
            frames=self.batch.frames[clip, times],
            prev_actions=self.batch.prev_actions[clip, times],
            prev_rewards=self.batch.prev_rewards[clip, times],
            is_first=self.batch.is_first[clip, times],
            is_terminal=self.batch.is_terminal[clip, times],
        )

    def other_moments(self) -> Float[Tensor, "w a"]:
        """Return for each window an action of another window of the same clip."""
        rng = numpy_rng(self.config.seed, "moments")
        chosen = []
        for row, clip in enumerate(self.clip):
            same = np.flatnonzero(self.clip == clip)
            chosen.append(rng.choice(same[same != row]) if len(same) > 1 else row)
        return self.actions(np.array(chosen, dtype=np.int64), 0)

    def flat_actions(self, num_steps: int) -> Float[np.ndarray, "w a"]:
        rows = np.arange(self.count)
        steps = [self.actions(rows, offset).cpu().numpy() for offset in range(num_steps)]
        return np.concatenate(steps, axis=1)

    def flat_lanes(self, num_steps: int) -> Bool[np.ndarray, "w a"]:
        return np.tile(self.batch.action_mask.cpu().numpy()[self.clip] > 0, (1, num_steps))


def _measure_part(
    world: WorldModel,
    windows: _Windows,
    rows: Int64[np.ndarray, " r"],
    *,
    donors: Int64[np.ndarray, " w"],
    later: Int64[np.ndarray, " w"],
) -> dict[str, Float[np.ndarray, " r"]]:
    variants = windows.config.variants
    noise = ClipNoise.draw(
        world, rows.tolist(), windows.context, LATER_STEPS, seed=windows.config.seed
    )
    own_donors = np.where(donors[rows] < 0, rows, donors[rows])
    context = windows.contexts(rows)
    state = world.start(context, noise.context)
    given = {"true": windows.actions(rows, 0), "shuffled": windows.actions(own_donors, 0)}
    if "zero" in variants:
        given["zero"] = torch.zeros_like(given["true"])
    if "time" in variants:
        given["time"] = windows.other_moments()[torch.from_numpy(rows)]
    count = len(given)
    _, prediction = world.step(
        state.fork(count),
        torch.stack(list(given.values()), dim=1).flatten(0, 1),
        noise.steps[0].fork(count),
    )
    truth = windows.truth(rows, 0)
    table = _errors(prediction.latent, truth.repeat_interleave(count, dim=0))
    errors = dict(zip(given, table.reshape(len(rows), count).T.copy(), strict=True))
    if "sequence" in variants:
        # As in the paper: the context's actions are exchanged too.
        foreign = replace(context, prev_actions=windows.contexts(own_donors).prev_actions)
        _, prediction = world.step(
            world.start(foreign, noise.context), given["shuffled"], noise.steps[0]
        )
        errors["sequence"] = _errors(prediction.latent, truth)
    own_later = np.where(later[rows] < 0, rows, later[rows])
    far = _step_later(windows, (world, state.fork(2)), rows, own_later, noise)
    return errors | {"true_later": far[:, 0], "shuffled_later": far[:, 1]}


def _step_later(
    windows: _Windows,
    dream: tuple[WorldModel, RolloutState],
    rows: Int64[np.ndarray, " r"],
    donors: Int64[np.ndarray, " r"],
    noise: ClipNoise,
) -> Float[np.ndarray, "r 2"]:
    """Dream four frames under own and under foreign actions; return the errors of the last."""
    world, state = dream
    for offset, drawn in enumerate(noise.steps):
        pair = [windows.actions(rows, offset), windows.actions(donors, offset)]
        state, _ = world.step(state, torch.stack(pair, dim=1).flatten(0, 1), drawn.fork(2))
    truth = windows.truth(rows, LATER_STEPS - 1).repeat_interleave(2, dim=0)
    return _errors(state.latent, truth).reshape(len(rows), 2)


def _errors(
    latent: Float[Tensor, "r n d"], truth: Float[Tensor, "r n d"]
) -> Float[np.ndarray, " r"]:
    return (latent - truth).square().flatten(1).mean(dim=1).double().cpu().numpy()
