"""Watched dreams: what their twins are worth by the truth."""

import numpy as np
import pytest
import torch

from reverie.evaluate.clips import cut_clips
from reverie.evaluate.reconstruction import reconstruct
from reverie.evaluate.rollout import RolloutConfig
from reverie.evaluate.watched import WatchedDreams, true_twin_gains, watch_clips
from reverie.hallucination.watch import NUM_TWINS
from reverie.models.api import Noise
from tests.support.worlds import PixelTokenizer, PlainState, RuleWorld, action_rule, colour_episode


def lagging_rule(state: PlainState, action: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Show half of the action's colour: wrong, and the same under every noise."""
    return 0.5 * action_rule(state, action, noise)


def watch(world: RuleWorld) -> WatchedDreams:
    episodes = [colour_episode(seed) for seed in range(3)]
    clips = cut_clips(episodes, action_width=3, num_per_episode=1, num_frames=32)
    real = reconstruct(world, clips, batch_rows=16)  # type: ignore[arg-type]
    config = RolloutConfig(horizon=24, batch_rows=16)
    return watch_clips(world, clips, real, config)  # type: ignore[arg-type]


def test_where_noise_has_no_say_twins_have_the_dreams_own_gain() -> None:
    world = RuleWorld(lagging_rule, tokenizer=PixelTokenizer())
    dreams = watch(world)
    found = true_twin_gains(world, dreams)  # type: ignore[arg-type]
    assert found.shape == (3, NUM_TWINS)
    own = np.repeat(dreams.gains.gain[:, None], NUM_TWINS, axis=1)
    # Twins are kept in half precision.
    assert found == pytest.approx(own, abs=0.05)
    assert np.ptp(own[:, 0]) > 0.2, "dreams of different worth"
