"""Boosted trees: the same numbers as scikit-learn's, kept as JSON, honest about what is missing."""

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier

from reverie.core.config import from_dict, to_dict
from reverie.core.errors import ConfigError
from reverie.hallucination import trees as module
from reverie.hallucination.calibrate import MapChoice, fit_map, left_out_losses
from reverie.hallucination.trees import Trees, fit_trees, with_share


def _either_end(rows: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Wrong where a reading is high and where it is low: nothing for a straight line."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(rows, 3))
    return features, (np.abs(features[:, 1]) > 1.0) ^ (rng.random(rows) < 0.05)


def test_the_logit_is_that_of_the_library_which_fitted_the_trees() -> None:
    features, labels = _either_end()
    trees = fit_trees(features, labels)
    same = GradientBoostingClassifier(
        n_estimators=module.NUM_TREES,
        learning_rate=module.LEARNING_RATE,
        max_depth=module.DEPTH,
        min_samples_leaf=module.MIN_LEAF_STEPS,
        subsample=0.5,
        max_features="sqrt",
        random_state=0,
    ).fit(features, labels)
    new = np.random.default_rng(1).normal(size=(4, 50, 3))
    expected = same.decision_function(new.reshape(-1, 3)).reshape(4, 50)
    assert np.allclose(trees.logit(new), expected, atol=1e-9)
    assert np.allclose(from_dict(Trees, to_dict(trees)).logit(new), expected, atol=1e-9)


def test_trees_see_what_no_straight_line_does_and_are_chosen_for_it() -> None:
    features, labels = _either_end()
    groups = np.repeat(["a", "b", "c"], 200)
    choices = [MapChoice(channels=("m",), share=share) for share in (0.0, 0.5, 1.0)]
    alone, half, whole = left_out_losses(features, labels.astype(float), groups, choices)
    assert whole < half < alone and alone > 0.6


def test_a_straight_line_stays_with_the_logistic_map() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(240, 6))
    labels = (features.sum(axis=1) + rng.logistic(size=240) > 0).astype(float)
    groups = np.repeat(["a", "b", "c"], 80)
    choices = [MapChoice(channels=("m",), strength=1.0, share=share) for share in (0.0, 1.0)]
    alone, whole = left_out_losses(features, labels, groups, choices)
    assert alone < whole


def test_a_blend_lies_between_its_parts_and_what_is_undefined_stays_so() -> None:
    features, labels = _either_end()
    choice = MapChoice(channels=("m",), share=0.5)
    fitted = fit_map(features, labels.astype(float), choice)
    assert fitted.trees is not None
    parts = [fitted.weights.logit(features), fitted.trees.logit(features)]
    assert np.allclose(fitted.logit(features), np.mean(parts, axis=0))
    features[3, 0] = np.nan
    assert np.flatnonzero(np.isnan(fitted.trees.logit(features))).tolist() == [3]


def test_trees_with_missing_nodes_are_refused() -> None:
    trees = fit_trees(*_either_end(200))
    assert with_share(trees, 0.0) is None and with_share(None, 0.5) is None
    for harm in (
        {"values": trees.values[:-1]},
        {"limits": tuple(row[:-1] for row in trees.limits)},
        {"share": 0.0},
    ):
        with pytest.raises(ConfigError, match="Fit it again: reverie calibrate MODEL"):
            from_dict(Trees, {**to_dict(trees), **harm})
