"""AUROC and rank correlation: worked examples, and equality with SciPy and scikit-learn."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from reverie.evaluate.discrimination import (
    auroc,
    auroc_numbers,
    mid_ranks,
    spearman,
    spearman_numbers,
)
from reverie.evaluate.statistics import (
    bootstrap_mean,
    interquartile_mean,
    probability_of_improvement,
    stratified_bootstrap,
)

DIGITS = {"abs": 5e-7, "rel": 0}
READINGS = np.array([0.3, 0.4, 0.5, 0.6, 1.2, 1.4, 1.5, 1.9, 3, 4, 5, 7])
GAINS = np.array([6, 7, 5, 6.5, 1, -0.5, 2, 0.5, -4, -3, -6, -3.5])
TASKS = [task for task in "ABC" for _ in range(4)]


def test_examples_of_section_3_4() -> None:
    assert auroc(np.array([1, 2, 2, 3]), np.array([0, 0, 1, 1])) == pytest.approx(0.875)
    rho = spearman(np.array([1.0, 2, 2, 4]), np.array([5.0, 3, 4, 1]))
    assert rho == pytest.approx(-0.948683, **DIGITS)


def test_example_h_correlation() -> None:
    numbers = spearman_numbers(READINGS, GAINS, TASKS, min_clips=4)
    assert numbers.pooled == pytest.approx(-0.895105, **DIGITS)
    assert numbers.within_mean == pytest.approx(0.0, abs=1e-12)
    assert numbers.within_median == pytest.approx(0.0, abs=1e-12)
    assert numbers.between == pytest.approx(-1.0)
    assert numbers.on_task_ranks == pytest.approx(0.0, abs=1e-12)
    assert numbers.task_identity == pytest.approx(0.790210, **DIGITS)
    assert (numbers.num_tasks_within, numbers.num_clips, numbers.num_dropped) == (3, 12, 0)


def test_example_h_discrimination() -> None:
    numbers = auroc_numbers(READINGS, GAINS <= 0, GAINS, TASKS, min_clips=4)
    assert numbers.pooled == pytest.approx(0.942857, **DIGITS)
    assert numbers.within_mean == pytest.approx(0.333333, **DIGITS)
    assert numbers.num_tasks_within == 1, "A and C have one class only"
    assert numbers.wrong_sign_share == 1.0


def test_tasks_with_few_clips_give_no_number_of_their_own() -> None:
    assert np.isnan(spearman_numbers(READINGS, GAINS, TASKS).within_mean)
    assert spearman_numbers(READINGS, GAINS, TASKS).num_tasks_within == 0


def test_readings_that_are_not_finite_are_dropped_and_counted() -> None:
    readings = np.append(READINGS, [np.nan, np.inf])
    gains, tasks = np.append(GAINS, [1.0, 1.0]), [*TASKS, "A", "A"]
    numbers = spearman_numbers(readings, gains, tasks, min_clips=4)
    assert numbers.num_dropped == 2
    assert numbers.pooled == pytest.approx(-0.895105, **DIGITS)


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_scipy_and_scikit_learn_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    readings, others = rng.integers(0, 9, 80).astype(float), rng.integers(0, 6, 80).astype(float)
    labels = rng.integers(0, 2, 80)
    assert mid_ranks(readings).tolist() == stats.rankdata(readings).tolist()
    assert auroc(readings, labels) == pytest.approx(metrics.roc_auc_score(labels, readings))
    expected = stats.spearmanr(readings, others).statistic
    assert spearman(readings, others) == pytest.approx(expected)


def test_one_class_and_constants_have_no_value() -> None:
    assert np.isnan(auroc(np.arange(4.0), np.zeros(4)))
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))
    assert np.isnan(spearman(np.ones(1), np.ones(1)))


def test_example_s_statistics() -> None:
    scores = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.9, 1.0]])
    assert interquartile_mean(scores) == pytest.approx(0.45)
    chance = probability_of_improvement(np.array([0.5, 0.6, 0.9]), np.array([0.4, 0.6, 0.8]))
    assert chance == pytest.approx(0.611111, **DIGITS)


def test_intervals_hold_the_value_and_narrow_with_data() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0.5, 0.1, (3, 20))
    low, high = stratified_bootstrap(
        scores, interquartile_mean, rng=np.random.default_rng(1), num_draws=300
    )
    assert low < interquartile_mean(scores) < high
    few, many = (
        np.ptp(bootstrap_mean(rng.normal(size=count), rng=rng, num_draws=500))
        for count in (20, 2000)
    )
    assert many < few / 5
    assert np.isnan(bootstrap_mean(np.array([1.0, np.nan]), rng=rng)).all()


def test_a_task_whose_seeds_agree_has_an_interval_of_no_width() -> None:
    scores = np.repeat(np.array([[0.2], [0.8]]), 5, axis=1)
    interval = stratified_bootstrap(
        scores, interquartile_mean, rng=np.random.default_rng(1), num_draws=50
    )
    assert interval == pytest.approx((0.5, 0.5))
