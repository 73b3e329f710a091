"""Searches on functions whose best sequence is known; no model anywhere."""

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.core.errors import ConfigError, MissingExtraError, ShapeError, UnknownNameError
from reverie.planning.optimisers import (
    OPTIMISERS,
    Optimiser,
    SearchConfig,
    SearchStart,
    coloured_noise,
    make_optimiser,
)
from tests.support.dreams import seeded

STEPS, LANES = 5, 3
CONFIG = SearchConfig(num_candidates=40, num_elites=8, num_iterations=8, min_std=0.01)
TARGET = torch.linspace(-0.8, 0.9, STEPS * LANES).reshape(STEPS, LANES)

every_optimiser = pytest.mark.parametrize("name", OPTIMISERS.names())


def bowl(candidates: Tensor) -> Tensor:
    """Best at TARGET, worth 0 there."""
    return -(candidates - TARGET).square().sum(dim=(1, 2))


def corner(candidates: Tensor) -> Tensor:
    """Best where every lane is at its upper bound."""
    return candidates.sum(dim=(1, 2))


def start(std: float = 0.7) -> SearchStart:
    return SearchStart.wide(STEPS, LANES, std)


def search(optimiser: Optimiser, value: object, *, rounds: int, seed: int = 0) -> list[Tensor]:
    rng = seeded(seed)
    asked = []
    for _ in range(rounds):
        candidates = optimiser.ask(rng)
        asked.append(candidates)
        optimiser.tell(candidates, value(candidates))  # type: ignore[operator]
    return asked


@every_optimiser
def test_a_search_comes_close_to_the_best_of_a_bowl(name: str) -> None:
    optimiser = make_optimiser(name, start(), CONFIG)
    before = float(bowl(optimiser.mean[None]))
    search(optimiser, bowl, rounds=40)
    assert float(bowl(optimiser.mean[None])) > 0.05 * before


@every_optimiser
def test_candidates_stay_within_bounds_even_when_the_best_lies_on_them(name: str) -> None:
    optimiser = make_optimiser(name, start(), CONFIG)
    asked = search(optimiser, corner, rounds=30)
    assert max(float(candidates.abs().max()) for candidates in asked) <= 1.0
    assert float(optimiser.mean.abs().max()) <= 1.0
    assert float(optimiser.mean.mean()) > 0.8


@every_optimiser
def test_the_same_seed_asks_for_the_same_candidates_and_another_seed_for_others(name: str) -> None:
    runs = [
        torch.cat(search(make_optimiser(name, start(), CONFIG), bowl, rounds=3, seed=seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@every_optimiser
def test_a_search_draws_nothing_from_global_generators(name: str) -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the global generator is what is tested
    before = (torch.get_rng_state(), np.random.get_state()[1].copy())  # noqa: NPY002
    search(make_optimiser(name, start(), CONFIG), bowl, rounds=2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@every_optimiser
def test_a_warm_start_at_the_best_is_better_at_once_than_a_cold_one(name: str) -> None:
    warm = make_optimiser(name, SearchStart(TARGET, torch.full_like(TARGET, 0.2)), CONFIG)
    cold = make_optimiser(name, start(), CONFIG)
    assert bowl(warm.ask(seeded())).max() > bowl(cold.ask(seeded())).max()


@every_optimiser
def test_values_that_are_not_numbers_are_refused(name: str) -> None:
    optimiser = make_optimiser(name, start(), CONFIG)
    candidates = optimiser.ask(seeded())
    values = bowl(candidates)
    with pytest.raises(ShapeError, match="2 of 40 candidates have a value that is not finite"):
        optimiser.tell(candidates, values.index_fill(0, torch.tensor([3, 7]), torch.nan))


@every_optimiser
def test_a_candidate_from_outside_pulls_the_search_towards_itself(name: str) -> None:
    optimiser = make_optimiser(name, start(0.1), CONFIG)
    candidates = optimiser.ask(seeded()).clone()
    before = (optimiser.mean - TARGET).square().sum()
    candidates[0] = TARGET
    optimiser.tell(candidates, bowl(candidates))
    assert (optimiser.mean - TARGET).square().sum() < before


def test_shifting_drops_what_was_executed_and_repeats_the_end() -> None:
    mean = torch.arange(6.0).reshape(3, 2)
    shifted = SearchStart(mean, torch.ones_like(mean)).after(2)
    assert shifted.mean.tolist() == [[4.0, 5.0], [4.0, 5.0], [4.0, 5.0]]


def test_cem_fits_the_unbiased_moments_of_its_elites_with_a_floor() -> None:
    config = SearchConfig(num_candidates=4, num_elites=2, min_std=0.3)
    optimiser = make_optimiser("cem", SearchStart.wide(1, 2, 1.0), config)
    candidates = torch.tensor([[[0.0, 0.5]], [[0.4, 0.5]], [[-1.0, 0.0]], [[1.0, 1.0]]])
    optimiser.tell(candidates, torch.tensor([3.0, 2.0, 1.0, 0.0]))
    assert torch.allclose(optimiser.mean, torch.tensor([[0.2, 0.5]]))
    # Unbiased: sqrt(0.08); the second lane does not vary and gets the floor.
    assert torch.allclose(optimiser.std, torch.tensor([[0.3, 0.3]]))  # type: ignore[attr-defined]


def test_mppi_weighs_candidates_by_the_exponential_of_their_value() -> None:
    config = SearchConfig(num_candidates=2, num_elites=2, temperature=1.0)
    optimiser = make_optimiser("mppi", SearchStart.wide(1, 1, 1.0), config)
    optimiser.tell(torch.tensor([[[1.0]], [[-1.0]]]), torch.tensor([3.0, 1.0]))
    # Spread 1, so the weights are those of 0 and -2.
    weight = 1 / (1 + np.exp(-2.0))
    assert float(optimiser.mean) == pytest.approx(weight - (1 - weight), abs=1e-6)


def test_equal_values_leave_mppi_at_the_mean_of_its_candidates() -> None:
    optimiser = make_optimiser("mppi", start(), CONFIG)
    candidates = optimiser.ask(seeded())
    optimiser.tell(candidates, torch.zeros(len(candidates)))
    assert torch.allclose(optimiser.mean, candidates.mean(dim=0), atol=1e-6)


def test_icem_brings_its_elites_back_and_asks_for_fewer_candidates_later() -> None:
    config = SearchConfig(num_candidates=40, num_elites=8, num_iterations=3)
    optimiser = make_optimiser("icem", start(), config)
    first, second, last = search(optimiser, bowl, rounds=3)
    best = first[bowl(first).topk(3).indices]
    assert torch.equal(second[:3], best)
    assert (len(first), len(second), len(last)) == (40, 32, 26)
    assert bowl(last).max() >= bowl(second).max() >= bowl(first).max()


@pytest.mark.parametrize("num_steps", [1, 2, 7, 16])
@pytest.mark.parametrize("colour", [0.0, 0.5, 2.0])
def test_coloured_noise_has_unit_variance_whatever_its_colour_and_length(
    num_steps: int, colour: float
) -> None:
    noise = coloured_noise(4000, torch.zeros(num_steps, 2), colour, seeded())
    assert float(noise.square().mean()) == pytest.approx(1.0, abs=0.06)


def test_redder_noise_changes_less_from_step_to_step() -> None:
    moves = [
        float(coloured_noise(500, torch.zeros(16, 2), colour, seeded()).diff(dim=1).square().mean())
        for colour in (0.0, 1.0, 2.0)
    ]
    assert moves[0] > 1.5 * moves[1] > 3 * moves[2] / 1.5


def test_impossible_searches_are_refused_by_name_and_by_number() -> None:
    with pytest.raises(UnknownNameError, match="Unknown optimiser 'icme'. Did you mean 'icem'"):
        make_optimiser("icme", start(), CONFIG)
    with pytest.raises(ConfigError, match="2 to num_candidates elites, got 3 iterations, 9"):
        SearchConfig(num_candidates=8, num_elites=9)
    with pytest.raises(ConfigError, match="must be above 0"):
        SearchConfig(first_std=0.0)
    with pytest.raises(ConfigError, match="CMA-ES needs at least 4 candidates, got 3"):
        make_optimiser("cma-es", start(), SearchConfig(num_candidates=3, num_elites=2))


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cma", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'reverie\[es\]'"):
        make_optimiser("cma-es", start(), CONFIG)
