"""The verifier that weighs imagined reward: what it learns, and what a doubted step is worth."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from reverie.core.errors import ConfigError
from reverie.models.api import StepContext
from reverie.train.classic import LatentStream
from reverie.train.trust import TrustConfig, fit_trust
from tests.support.classic import make_classic_world
from tests.support.dreams import TASKS, make_batch, seeded

QUICK = TrustConfig(steps=40, clips=60, horizon=5)


def make_world(*, can_end: bool = True) -> Any:
    names = TASKS[:1]
    return make_classic_world(
        tasks=names, terminating=names if can_end else (), action_width=1, num_components=1
    )


def make_stream(num_episodes: int = 12, length: int = 20) -> LatentStream:
    """Episodes that drift slowly, two units away from where an untrained M dreams."""
    frames = num_episodes * length
    lanes = make_batch(1, frames, action_width=1)
    is_first = torch.arange(frames)[None] % length == 0
    walk = 0.1 * torch.randn(frames, 5, generator=seeded(2)).cumsum(dim=0)
    mean = 2.0 + walk - walk.mean(dim=0)
    posteriors = torch.stack([mean, torch.full_like(mean, -6.0)], dim=1)
    lanes = replace(lanes, is_first=is_first, prev_rewards=torch.full((1, frames), 1.5))
    return LatentStream(posteriors=posteriors, lanes=lanes, newest_from=0)


def step_of(world: Any, stream: LatentStream) -> StepContext:
    latents = stream.posteriors[None, 40:45, 0]
    start = world.start_from_latents(
        latents,
        prev_actions=torch.zeros(1, 5, 1),
        is_first=torch.zeros(1, 5, dtype=torch.bool),
        action_mask=torch.ones(1, 1),
        task=TASKS[:1],
    )
    action = torch.ones(1, 1)
    after, prediction = world.step(start, action, world.draw_noise(1, seeded(1)))
    return StepContext(before=start, action=action, prediction=prediction, after=after)


def test_dreams_of_an_untrained_m_are_told_from_real_play_in_other_episodes() -> None:
    torch.set_num_threads(1)
    world, stream = make_world(), make_stream()
    fitted = fit_trust(world, stream, QUICK, seed=3)
    assert fitted.auroc_last > 0.8 and fitted.auroc_last >= fitted.auroc_first - 0.1
    assert 0 < fitted.trust.usual <= 1
    again = fit_trust(world, stream, QUICK, seed=3)
    step = step_of(world, stream)
    assert torch.equal(fitted.trust.doubt(world, step), again.trust.doubt(world, step))
    assert again.trust.usual == fitted.trust.usual


@pytest.mark.parametrize(("can_end", "floor"), [(True, 0.0), (False, 1.5)])
def test_a_doubted_step_is_worth_an_end_or_else_the_smallest_reward(
    floor: float, *, can_end: bool
) -> None:
    config = replace(QUICK, steps=1)
    fitted = fit_trust(make_world(can_end=can_end), make_stream(), config, seed=3)
    assert fitted.trust.reward_floor == floor


def test_too_little_data_is_refused_with_what_to_set() -> None:
    with pytest.raises(ConfigError, match="Set a smaller search.trust.horizon"):
        fit_trust(make_world(), make_stream(3, 6), replace(QUICK, horizon=9), seed=0)
    with pytest.raises(ConfigError, match="at least 24 clips"):
        TrustConfig(clips=3)
