"""Boosted trees beside the logistic map: what a straight line through the features cannot say.

A reading may be suspicious when it is high *and* when it is low, or only while little moves.
Friedman 2001 ("Greedy function approximation: a gradient boosting machine"), fitted by scikit-learn
and kept as plain numbers, so that a running dream needs neither scikit-learn nor a pickle.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from reverie.core.errors import ConfigError
from reverie.core.registry import require_extra

NUM_TREES = 150
DEPTH = 3
"""Questions from the root of a tree to a leaf."""
LEARNING_RATE = 0.05
MIN_LEAF_STEPS = 40
"""Steps in a leaf, at least: those of one dream say nearly the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trees:
    """Full binary trees in heap order: node i asks, then goes on at 2 i + 1, or at 2 i + 2."""

    share: float
    """Part of the logit that comes from the trees; the rest is the logistic map's."""
    bias: float
    features: tuple[tuple[int, ...], ...]
    """Per tree and inner node: the column that is asked for."""
    limits: tuple[tuple[float, ...], ...]
    """Per tree and inner node: what is above goes right."""
    values: tuple[tuple[float, ...], ...]
    """Per tree and leaf."""

    def __post_init__(self) -> None:
        """Refuse trees with missing nodes, and shares that are none."""
        inner, leaves = 2**DEPTH - 1, 2**DEPTH
        parts = {"features": inner, "limits": inner, "values": leaves}
        sizes = {name: [len(row) for row in getattr(self, name)] for name in parts}
        wanted = {name: [size] * len(self.features) for name, size in parts.items()}
        if sizes != wanted or not 0 < self.share <= 1:
            raise ConfigError(
                f"The trees of a calibration have {inner} questions and {leaves} leaves each and a "
                f"share in (0, 1]; these do not, with a share of {self.share}. Fit it again: "
                f"reverie calibrate MODEL"
            )

    def logit(self, features: Float[np.ndarray, "*any f"]) -> Float[np.ndarray, "*any"]:
        """Return the trees' own logit of each row; not-a-number where a feature is."""
        # As they were fitted: questions are asked in single precision.
        rows = features.reshape(-1, features.shape[-1]).astype(np.float32)
        asked, limits = np.array(self.features), np.array(self.limits)
        values, trees = np.array(self.values), np.arange(len(self.features))
        node = np.zeros((len(rows), len(trees)), dtype=np.int64)
        for _ in range(DEPTH):
            seen = np.take_along_axis(rows, asked[trees, node], axis=1)
            node = 2 * node + 1 + (seen > limits[trees, node])
        found = self.bias + values[trees, node - (2**DEPTH - 1)].sum(axis=1)
        found[~np.isfinite(rows).all(axis=1)] = np.nan
        return found.reshape(features.shape[:-1])


def mix_logits(
    linear: Float[np.ndarray, "*any"],
    trees: Trees | None,
    features: Float[np.ndarray, "*any f"],
) -> Float[np.ndarray, "*any"]:
    """Mix the logit of trees, where there are any, into that of the logistic map."""
    if trees is None:
        return linear
    return (1.0 - trees.share) * linear + trees.share * trees.logit(features)


def fit_trees(features: Float[np.ndarray, "n f"], labels: Bool[np.ndarray, " n"]) -> Trees:
    """Fit trees to finite rows of both labels; they speak alone until they are given a share.

    Args:
        features: One row a step.
        labels: True where the dream diverged within the frames ahead.
    """
    ensemble = require_extra("sklearn.ensemble", "eval", "fit a calibration")
    model = ensemble.GradientBoostingClassifier(
        n_estimators=NUM_TREES,
        learning_rate=LEARNING_RATE,
        max_depth=DEPTH,
        min_samples_leaf=MIN_LEAF_STEPS,
        subsample=0.5,
        max_features="sqrt",
        random_state=0,
    )
    model.fit(features, labels)
    odds = labels.mean() / (1.0 - labels.mean())
    parts = [_full_tree(stage[0].tree_) for stage in model.estimators_]
    return Trees(
        share=1.0,
        bias=float(np.log(odds)),
        features=tuple(part[0] for part in parts),
        limits=tuple(part[1] for part in parts),
        values=tuple(part[2] for part in parts),
    )


def with_share(trees: Trees | None, share: float) -> Trees | None:
    """Give trees their part of the logit; none at all where it is 0."""
    return None if trees is None or not share else replace(trees, share=share)


def _full_tree(tree: Any) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
    """Lay a tree of scikit-learn out in heap order; a leaf above the last row is repeated."""
    places = [0]
    asked, limits = list[int](), list[float]()
    for _ in range(2**DEPTH - 1):
        place = places[len(asked)]
        is_leaf = tree.children_left[place] < 0
        asked.append(0 if is_leaf else int(tree.feature[place]))
        limits.append(0.0 if is_leaf else float(tree.threshold[place]))
        left, right = tree.children_left[place], tree.children_right[place]
        places += [place, place] if is_leaf else [int(left), int(right)]
    leaves = [LEARNING_RATE * float(tree.value[place, 0, 0]) for place in places[2**DEPTH - 1 :]]
    return tuple(asked), tuple(limits), tuple(leaves)
