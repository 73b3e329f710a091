"""What a run looks at while it trains: held-out numbers per task, and pictures of its dreams."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

from reverie.data.store import EpisodeStore
from reverie.evaluate.action_following import FollowingConfig, follow_actions
from reverie.evaluate.clips import Clips, cut_clips
from reverie.evaluate.metrics import ClipGains, frame_errors, psnr
from reverie.evaluate.reconstruction import reconstruct
from reverie.evaluate.rollout import Rollout, RolloutConfig, dream_clips
from reverie.models.api import TokenizerProtocol
from reverie.models.dynamics.world import ShortcutWorld
from reverie.recipes.pictures import stack_rows, write_gif, write_strip
from reverie.train.loop import Hook
from reverie.train.state import TrainState

_NUM_EPISODES = 3
_CLIPS_PER_EPISODE = 2
"""Few: these numbers steer a person's eye; the evaluation at the end measures properly."""


def tokenizer_hooks(
    tokenizer: TokenizerProtocol, held_out: EpisodeStore, pictures: Path
) -> list[Hook]:
    """Measure the reconstruction of held-out frames, by task, and draw it."""

    def look(state: TrainState) -> dict[str, float]:
        values: dict[str, float] = {}
        for task, clips in _clips(held_out, 1).items():
            shown = _round_trip(tokenizer, clips)
            truth = clips.pictures()
            values[f"reconstruction_psnr_db/{task}"] = float(
                psnr(frame_errors(shown, truth).mean())
            )
            pairs = stack_rows(truth[0], shown[0])
            write_strip(pictures / f"tokenizer-{state.step:06d}" / f"{task}.png", pairs)
        return _with_mean(values, "reconstruction_psnr_db")

    return [look]


def dynamics_hooks(world: ShortcutWorld, held_out: EpisodeStore, pictures: Path) -> list[Hook]:
    """Dream held-out clips: rollout gain and action-shuffle ratio by task, and pictures."""
    rollout_config = RolloutConfig(readings=())
    following_config = FollowingConfig(variants=())

    def look(state: TrainState) -> dict[str, float]:
        gains: dict[str, float] = {}
        ratios: dict[str, float] = {}
        for task, clips in _clips(held_out, world.action_width).items():
            real = reconstruct(world, clips, batch_rows=rollout_config.batch_rows)
            rollout = dream_clips(world, clips, real, rollout_config)
            moving = ClipGains.of(
                dream=rollout.dream, still=rollout.still, decoded_still=rollout.decoded_still
            ).moving_gain
            moving = moving[~np.isnan(moving)]
            if len(moving):
                gains[f"rollout_gain_db/{task}"] = float(moving.mean())
            following = follow_actions(world, clips, real.latents, following_config)
            ratios[f"action_shuffle_ratio/{task}"] = float(following.ratio)
            _draw(clips, rollout, pictures / f"dynamics-{state.step:06d}" / task)
        return _with_mean(gains, "rollout_gain_db") | _with_mean(ratios, "action_shuffle_ratio")

    return [look]


def _draw(clips: Clips, rollout: Rollout, path: Path) -> None:
    until = clips.num_frames - rollout.frames.shape[1]
    pairs = stack_rows(clips.pictures()[0, until:], rollout.frames[0])
    write_strip(path.with_suffix(".png"), pairs)
    write_gif(path.with_suffix(".gif"), pairs)


@cache
def _clips(held_out: EpisodeStore, action_width: int) -> dict[str, Clips]:
    """Cut the same clips every time; the store is not changed while a run trains."""
    tasks = sorted({entry.task for entry in held_out.index})
    return {task: _cut(held_out, task, max(action_width, _width(held_out, task))) for task in tasks}


def _cut(held_out: EpisodeStore, task: str, action_width: int) -> Clips:
    entries = [entry for entry in held_out.index if entry.task == task]
    # The longest ones: a short episode may have no clip of full length.
    longest = sorted(entries, key=lambda entry: -entry.num_frames)[:_NUM_EPISODES]
    return cut_clips(
        [held_out.read_episode(entry.id) for entry in longest],
        action_width=action_width,
        num_per_episode=_CLIPS_PER_EPISODE,
    )


def _width(held_out: EpisodeStore, task: str) -> int:
    return max(entry.action_width for entry in held_out.index if entry.task == task)


@torch.inference_mode()
def _round_trip(tokenizer: TokenizerProtocol, clips: Clips) -> np.ndarray:
    device = next(tokenizer.parameters()).device  # type: ignore[attr-defined]
    latents, _ = tokenizer.encode(clips.frames.to(device))
    frames, _ = tokenizer.decode(latents)
    return frames.cpu().numpy()


def _with_mean(values: dict[str, float], name: str) -> dict[str, float]:
    numbers: Sequence[float] = [value for value in values.values() if not np.isnan(value)]
    return values | ({name: float(np.mean(numbers))} if numbers else {})
