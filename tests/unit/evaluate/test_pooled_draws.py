"""Bootstrap over what belongs together: episodes in a task, tasks in a mean."""

import numpy as np

from reverie.evaluate.statistics import draw_pooled, draw_task_mean, interval_of


def mean(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[..., 0] / sums[..., 1])


def units(seed: int, count: int = 12) -> np.ndarray:
    values = np.random.default_rng(seed).normal(3.0, 1.0, count)
    return np.stack([values, np.ones(count)], axis=1)


def test_pooled_draws_spread_as_the_standard_error_says() -> None:
    given = units(0, 40)
    draws = draw_pooled(given, mean, rng=np.random.default_rng(1))
    assert abs(draws.mean() - given[:, 0].mean()) < 0.02
    assert 0.85 < draws.std() / (given[:, 0].std() / np.sqrt(40)) < 1.15


def test_the_same_generator_draws_in_pairs() -> None:
    given = units(0)
    shifted = given + np.array([[0.5, 0.0]])
    pair = [draw_pooled(x, mean, rng=np.random.default_rng(7)) for x in (given, shifted)]
    np.testing.assert_allclose(pair[1] - pair[0], 0.5, atol=1e-12)


def test_one_unit_says_nothing_of_the_spread() -> None:
    draws = draw_pooled(units(0, 1), mean, rng=np.random.default_rng(1))
    assert np.isnan(draws).all() and np.isnan(interval_of(draws)).all()


def test_tasks_are_drawn_again_and_empty_ones_left_out() -> None:
    apart = [np.full(2000, 0.0), np.full(2000, 1.0)]
    draws = draw_task_mean(apart, rng=np.random.default_rng(3))
    assert set(draws.tolist()) == {0.0, 0.5, 1.0}
    with_gap = [*apart, np.full(2000, np.nan)]
    assert interval_of(draw_task_mean(with_gap, rng=np.random.default_rng(3))) == (0.0, 1.0)
    nothing = draw_task_mean([np.full(2000, np.nan)], rng=np.random.default_rng(3))
    assert np.isnan(nothing).all()
