"""Worked examples I to L of the specification, to six digits, and agreement with libraries."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, log_loss

from reverie.core.errors import ConfigError
from reverie.evaluate.calibration import (
    clopper_pearson,
    score_detection,
    score_probability,
)
from reverie.hallucination.calibrate import fit_isotonic
from reverie.hallucination.conformal import (
    NEVER,
    AdaptiveLevel,
    conformal_quantile,
    first_flags,
    latch,
    lead_times,
    mondrian,
    smallest_group,
)
from reverie.hallucination.consistency import context_consistency
from reverie.hallucination.novelty import nearest_distance

DIGITS = {"abs": 5e-7, "rel": 0}
SCORES = np.array([0.05, 0.08, 0.11, 0.14, 0.20, 0.22, 0.31, 0.40, 0.55])


def test_example_i_nearest_neighbours() -> None:
    bank = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    distance = nearest_distance(torch.tensor([[1.0, 1.0]]), bank, num_neighbours=2)
    assert float(distance) == pytest.approx(1.207107, **DIGITS)


def test_context_consistency_example() -> None:
    context = torch.tensor([[[[0.0], [1.0]], [[0.2], [0.9]]]], dtype=torch.float64)
    latent = torch.tensor([[[0.1], [1.5]]], dtype=torch.float64)
    reading = float(context_consistency(latent, context))
    assert reading == pytest.approx(0.3, **DIGITS)
    assert reading / 0.05 == pytest.approx(6.0, abs=1e-6)


def test_example_j_isotonic_map() -> None:
    curve = fit_isotonic(np.arange(1.0, 7.0), np.array([0, 1, 0, 0, 1, 1]))
    found = curve.apply(np.array([1, 2, 3, 4, 5, 6, 4.5, -3.0, 99.0]))
    third = 1 / 3
    expected = [0, third, third, third, 1, 1, 0.666667, 0, 1]
    assert found.tolist() == pytest.approx(expected, **DIGITS)


def test_example_j_scores() -> None:
    p, y = np.array([0.1, 0.2, 0.4, 0.6, 0.7, 0.9]), np.array([0, 0, 1, 0, 1, 1])
    score = score_probability(p, y, num_bins=2)
    assert score.ece == pytest.approx(0.083333, **DIGITS)
    assert score.brier == pytest.approx(0.145, **DIGITS)
    assert score.log_loss == pytest.approx(0.437187, **DIGITS)


@pytest.mark.parametrize(
    ("alpha", "expected"), [(0.2, 0.40), (0.1, 0.55), (0.05, NEVER)], ids=["20", "10", "5"]
)
def test_example_k_quantile(alpha: float, expected: float) -> None:
    assert conformal_quantile(SCORES, alpha) == expected


def test_example_k_leads() -> None:
    onset = np.array([9, 12, 6, np.nan, 8])
    flag = np.array([5, 13, np.nan, np.nan, 8])
    lead = lead_times(onset, flag)
    assert lead[[0, 1, 4]].tolist() == [4, -1, 0] and np.isnan(lead[[2, 3]]).all()


def test_example_k_counts() -> None:
    onset = [9, 12, 6, None, 8]
    flag = [5, 13, None, None, 8]
    steps = np.arange(1, 15)
    diverged = np.array([steps >= (at or 99) for at in onset])
    probability = np.array([np.where(steps >= (at or 99), 0.9, 0.1) for at in flag])
    score = score_detection("a", probability, np.full(5, 0.5), diverged)
    assert (score.misses, score.false_alarms, score.num_good) == (1, 0, 1)
    assert (score.detected, score.detected_in_time, score.lead_median) == (3, 2, 0.0)


def test_clopper_pearson_example() -> None:
    assert clopper_pearson(3, 60) == pytest.approx((0.010432, 0.139243), **DIGITS)
    assert clopper_pearson(0, 5)[0] == 0.0 and clopper_pearson(5, 5)[1] == 1.0
    expected = stats.binomtest(7, 20).proportion_ci(method="exact")
    assert clopper_pearson(7, 20) == pytest.approx((expected.low, expected.high))


def test_groups_need_one_over_alpha_minus_one_good_dreams() -> None:
    assert (smallest_group(0.05), smallest_group(0.01)) == (19, 99)
    rng = np.random.default_rng(0)
    scores = rng.random(60)
    groups = ["large"] * 41 + ["small"] * 18 + ["one"]
    found = mondrian(scores, groups, 0.05)
    assert not found["large"].is_fallback and found["small"].is_fallback
    assert found["small"].value == found["*"].value != found["large"].value
    assert (found["small"].num_good, found["large"].num_good) == (18, 41)


def test_too_few_dreams_never_flag() -> None:
    found = mondrian(SCORES, ["a"] * 9, 0.05)
    assert found["a"].value is None and not found["a"].flags(1.0)
    assert found["a"].flags(float("nan")), "what is undefined is never green"


def test_example_l_adaptive_level() -> None:
    level, seen = AdaptiveLevel(target=0.1, rate=0.05), [0.1]
    for error in (False, False, True, False):
        level = level.update(error)
        seen.append(level.alpha)
    assert seen == pytest.approx([0.1, 0.105, 0.11, 0.065, 0.07])


def test_the_level_is_clamped_in_use_but_not_in_the_recursion() -> None:
    level = AdaptiveLevel(target=0.1, rate=0.2).update(True)
    assert level.alpha == pytest.approx(-0.08)
    assert level.threshold(SCORES) == NEVER
    assert level.update(False).alpha == pytest.approx(-0.06)
    assert AdaptiveLevel(target=0.1, level=1.2).threshold(SCORES) == -NEVER


def test_latch_example() -> None:
    p = np.array([[0.1, 0.2, 0.8, 0.3, 0.2]])
    assert latch(p)[0].tolist() == [0.1, 0.2, 0.8, 0.8, 0.8]
    grounded = np.array([[False, False, False, True, False]])
    assert latch(p, grounded)[0].tolist() == [0.1, 0.2, 0.8, 0.3, 0.3]


def test_flags_are_strict_because_plateaus_tie_with_the_threshold() -> None:
    p = np.array([[0.2, 0.4, 0.4], [0.2, 0.4, 0.5], [np.nan, 0.0, 0.0]])
    flags = first_flags(p, np.full(3, 0.4))
    assert np.isnan(flags[0]) and flags[1:].tolist() == [3.0, 1.0]


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1])
def test_a_rate_outside_0_and_1_is_refused(alpha: float) -> None:
    with pytest.raises(ConfigError, match="lies between 0 and 1"):
        conformal_quantile(SCORES, alpha)


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_scikit_learn_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    readings, labels = rng.integers(0, 12, 90).astype(float), rng.integers(0, 2, 90).astype(float)
    model = IsotonicRegression(out_of_bounds="clip").fit(readings, labels)
    asked = np.linspace(-1, 13, 60)
    found = fit_isotonic(readings, labels).apply(asked)
    assert found.tolist() == pytest.approx(model.predict(asked).tolist(), abs=1e-12)
    p = rng.random(90)
    score = score_probability(p, labels)
    assert score.brier == pytest.approx(brier_score_loss(labels, p))
    assert score.log_loss == pytest.approx(log_loss(labels, p))


@pytest.mark.parametrize("seed", range(4))
def test_the_conformal_quantile_is_the_higher_quantile_of_numpy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, alpha = rng.integers(0, 30, 97) / 30, 0.1
    level = np.ceil(98 * (1 - alpha) - 1e-9) / 97
    assert conformal_quantile(scores, alpha) == np.quantile(scores, level, method="inverted_cdf")


def test_false_alarms_keep_their_rate_in_every_group_and_a_shift_breaks_it() -> None:
    rng = np.random.default_rng(5)
    alpha, num_splits, rates = 0.1, 500, {"calm": [], "wild": [], "shifted": []}
    groups = ["calm"] * 40 + ["wild"] * 40
    for _ in range(num_splits):
        scores = np.concatenate([rng.beta(2, 8, 40), rng.beta(5, 3, 40)])
        found = mondrian(scores, groups, alpha)
        fresh = {"calm": rng.beta(2, 8, 40), "wild": rng.beta(5, 3, 40)}
        for group, values in fresh.items():
            rates[group].append(np.mean(values > found[group].value))
        rates["shifted"].append(np.mean(rng.beta(4, 8, 40) > found["calm"].value))
    error = 3 * np.sqrt(alpha * (1 - alpha) / (40 * num_splits))
    for group in ("calm", "wild"):
        # Two sources of spread: the threshold and the fresh dreams; three errors of each.
        assert np.mean(rates[group]) <= alpha + 2 * error
    assert np.mean(rates["shifted"]) > 2 * alpha


def test_the_adaptive_threshold_returns_to_its_rate_after_a_shift() -> None:
    rng = np.random.default_rng(6)
    old = rng.beta(2, 8, 200)
    level, alarms = AdaptiveLevel(target=0.1, rate=0.02), []
    for _ in range(4000):
        score = rng.beta(5, 6)
        alarm = score > level.threshold(old)
        alarms.append(alarm)
        level = level.update(bool(alarm))
    assert np.mean(alarms[:50]) > 0.15
    assert np.mean(alarms[1000:]) == pytest.approx(0.1, abs=0.01)
