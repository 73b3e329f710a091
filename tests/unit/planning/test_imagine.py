"""What dreams pay: survival, common noise, cuts; and the same rows alone as in company."""

import pytest
import torch
from torch.testing import assert_close

from reverie.core.errors import ConfigError
from reverie.models.api import StepContext
from reverie.models.classic.controller import ControllerConfig
from reverie.models.classic.world import ClassicState, ClassicWorld
from reverie.planning.imagine import ImagineConfig, Trust, imagine
from tests.support.classic import make_classic_world
from tests.support.dreams import make_batch, random_frames, seeded

ROWS = 3


def make() -> tuple[ClassicWorld, ClassicState, ControllerConfig, torch.Tensor]:
    world = make_classic_world(terminating=("toy-fall", "toy-paint"))
    frames = random_frames(16, 16, rows=ROWS, num_frames=3)
    batch = make_batch(ROWS, 3, frames=frames)
    starts = world.start(batch, torch.zeros(ROWS, 3, 1, 5))
    config = ControllerConfig(num_features=world.num_features, num_outputs=3)
    return world, starts, config, torch.randn(4, config.num_parameters, generator=seeded(2))


def always_paying(world: ClassicWorld) -> ClassicWorld:
    assert world.rnn.reward is not None
    world.rnn.reward.weight.zero_()
    world.rnn.reward.bias.fill_(1.0)
    return world


def test_a_candidate_earns_in_company_what_it_earns_alone() -> None:
    world, starts, config, parameters = make()
    dream = ImagineConfig(horizon=5)
    whole = imagine(world, starts, config, parameters, dream, seeded(5)).returns
    for candidate in range(4):
        alone = imagine(world, starts, config, parameters[[candidate]], dream, seeded(5)).returns
        assert_close(whole[:, [candidate]], alone)


def test_without_an_end_head_a_task_that_pays_one_per_step_pays_all_alike() -> None:
    world, starts, config, parameters = make()
    always_paying(world)
    blind = imagine(
        world, starts, config, parameters, ImagineConfig(horizon=6, ends=False), seeded()
    )
    assert_close(blind.returns, torch.full((ROWS, 4), 6.0))
    seeing = imagine(world, starts, config, parameters, ImagineConfig(horizon=6), seeded())
    assert seeing.returns.std() > 0
    assert_close(seeing.returns, seeing.lifetimes)


def test_a_norm_below_the_limit_is_never_fined() -> None:
    world, starts, config, parameters = make()
    free = imagine(world, starts, config, parameters, ImagineConfig(horizon=4), seeded())
    lax = ImagineConfig(horizon=4, norm_limit=1e6, norm_fine=5.0)
    strict = ImagineConfig(horizon=4, norm_limit=0.5, norm_fine=5.0)
    assert torch.equal(
        imagine(world, starts, config, parameters, lax, seeded()).returns, free.returns
    )
    fined = imagine(world, starts, config, parameters, strict, seeded()).returns
    assert (fined < free.returns).all()


def test_a_dream_that_has_flown_off_is_over_and_its_fine_is_bounded() -> None:
    world, starts, config, parameters = make()
    always_paying(world)
    dream = ImagineConfig(horizon=4, norm_limit=1e-3, norm_fine=5.0)
    lost = imagine(world, starts, config, parameters, dream, seeded())
    assert (lost.lifetimes == 0).all()
    assert_close(lost.returns, torch.full((ROWS, 4), -4 * 5.0 * 2e-3))
    world.rnn.output.bias.fill_(torch.nan)
    undefined = imagine(world, starts, config, parameters, dream, seeded())
    assert torch.equal(undefined.returns, lost.returns)


def test_sharing_noise_between_candidates_makes_their_comparison_steadier() -> None:
    world, starts, config, parameters = make()
    dream = ImagineConfig(horizon=8)

    def gap(seed: int, *, shares: bool) -> float:
        if shares:
            both = imagine(world, starts, config, parameters[:2], dream, seeded(seed)).returns
            return float((both[:, 0] - both[:, 1]).mean())
        one, two = (
            imagine(world, starts, config, parameters[[k]], dream, seeded(10 * seed + k)).returns
            for k in range(2)
        )
        return float(one.mean() - two.mean())

    spread = {
        kind: torch.tensor([gap(seed, shares=kind) for seed in range(1, 30)]).std()
        for kind in (True, False)
    }
    assert spread[True] < spread[False]


def doubt_of_speed(world: object, step: StepContext) -> torch.Tensor:
    """Some doubt that differs from row to row and step to step."""
    return 4 * (step.after.latent - step.before.latent).flatten(1).norm(dim=1) - 6


def test_full_trust_changes_no_bit_and_doubt_only_takes() -> None:
    world, starts, config, parameters = make()
    dream = ImagineConfig(horizon=6)
    plain = imagine(world, starts, config, parameters, dream, seeded(5)).returns
    sure = Trust(doubt=lambda _, step: torch.full((len(step.action),), -100.0), usual=1.0)
    trusted = imagine(world, starts, config, parameters, dream, seeded(5), trust=sure).returns
    assert torch.equal(trusted, plain)
    always_paying(world)
    whole = imagine(world, starts, config, parameters, dream, seeded(5)).returns
    doubted = imagine(
        world, starts, config, parameters, dream, seeded(5), trust=Trust(doubt=doubt_of_speed)
    ).returns
    assert (doubted <= whole).all() and (doubted < whole - 0.1).any()


def test_rewards_shifted_by_a_constant_leave_the_ranking_of_equally_long_dreams() -> None:
    world, starts, config, parameters = make()
    dream = ImagineConfig(horizon=6, ends=False)
    returns = []
    for shift in (0.0, -3.0):
        assert world.rnn.reward is not None
        world.rnn.reward.bias.fill_(shift)
        trust = Trust(doubt=doubt_of_speed, reward_floor=shift - 1)
        found = imagine(world, starts, config, parameters, dream, seeded(5), trust=trust)
        returns.append(found.returns)
    # A weighted fine would pay for drifting; relative to the floor it does not.
    assert_close(returns[1], returns[0] - 6 * 3.0)


def test_a_step_that_is_trusted_again_stays_weighted_by_the_worst_before() -> None:
    world, starts, _, _ = make()
    trust = Trust(doubt=lambda _, step: step.action[:, 0])
    steps = []
    for lane in (1.0, -1.0):
        action = torch.full((ROWS, 3), lane)
        after, prediction = world.step(starts, action, world.draw_noise(ROWS, seeded()))
        steps.append(StepContext(before=starts, action=action, prediction=prediction, after=after))
    doubtful, calm = steps
    worse = trust.weigh(world, doubtful, torch.ones(ROWS))
    assert ((worse > 0.5) & (worse < 0.6)).all()
    assert torch.equal(trust.weigh(world, calm, worse), worse)
    assert torch.equal(trust.weigh(world, calm, torch.ones(ROWS)), torch.ones(ROWS))


def test_a_usual_confidence_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lies in \(0, 1\], got 0"):
        Trust(doubt=doubt_of_speed, usual=0.0)
