"""What dreams pay: survival, common noise, cuts; and the same rows alone as in company."""

import torch
from torch.testing import assert_close

from reverie.models.classic.controller import ControllerConfig
from reverie.models.classic.world import ClassicState, ClassicWorld
from reverie.planning.imagine import ImagineConfig, imagine
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
    strict = ImagineConfig(horizon=4, norm_limit=0.0, norm_fine=5.0)
    assert torch.equal(
        imagine(world, starts, config, parameters, lax, seeded()).returns, free.returns
    )
    fined = imagine(world, starts, config, parameters, strict, seeded()).returns
    assert (fined < free.returns).all()


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
