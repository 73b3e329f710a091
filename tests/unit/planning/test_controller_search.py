"""CMA-ES finds what there is to find, repeats itself exactly, and minds only the order."""

from collections.abc import Callable

import numpy as np
import pytest

from reverie.core.errors import CheckpointError, ConfigError
from reverie.planning.controller_search import ControllerSearch

Score = Callable[[np.ndarray], np.ndarray]


def sphere(candidates: np.ndarray) -> np.ndarray:
    return -((candidates - 0.5) ** 2).sum(axis=1)


def ellipsoid(candidates: np.ndarray) -> np.ndarray:
    weights = 10.0 ** np.linspace(0, 3, candidates.shape[1])
    return -(weights * (candidates - 0.2) ** 2).sum(axis=1)


def make(n: int = 6, *, seed: int = 1) -> ControllerSearch:
    return ControllerSearch(np.zeros(n), population=12, seed=seed)


def run(search: ControllerSearch, score: Score, generations: int) -> None:
    for _ in range(generations):
        search.tell(score(search.ask()))


@pytest.mark.parametrize(("score", "target"), [(sphere, 0.5), (ellipsoid, 0.2)])
def test_it_finds_the_top(score: Score, target: float) -> None:
    search = make()
    run(search, score, 160)
    np.testing.assert_allclose(search.mean, target, atol=0.02)


def test_what_was_saved_goes_on_bit_for_bit() -> None:
    whole, part, resumed = make(), make(), make()
    run(whole, sphere, 9)
    run(part, sphere, 4)
    resumed.load_state_dict(part.state_dict())
    assert resumed.generation == 4
    run(resumed, sphere, 5)
    assert np.array_equal(whole.mean, resumed.mean)
    assert np.array_equal(whole.ask(), resumed.ask())


def test_scores_shifted_and_scaled_give_the_same_path() -> None:
    plain, moved = make(), make()
    run(plain, sphere, 8)
    run(moved, lambda x: 5 * sphere(x) + 100, 8)
    assert np.array_equal(plain.mean, moved.mean)


def test_it_asks_the_same_until_told_and_leaves_the_global_generator_alone() -> None:
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    search = make()
    assert np.array_equal(search.ask(), search.ask())
    run(search, sphere, 3)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_it_begins_where_it_is_told() -> None:
    search = ControllerSearch(np.full(6, 3.0), population=12, seed=0, first_std=0.01)
    assert abs(search.ask().mean() - 3.0) < 0.02


def test_too_small_populations_wrong_scores_and_foreign_states_are_refused() -> None:
    with pytest.raises(ConfigError, match="population of at least 21"):
        ControllerSearch(np.zeros(321), population=4, seed=0)
    with pytest.raises(ConfigError, match="12 finite scores"):
        make().tell(np.full(12, np.nan))
    with pytest.raises(CheckpointError, match="seed"):
        make().load_state_dict(make(seed=2).state_dict())
