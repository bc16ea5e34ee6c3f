"""The isolation forest (Liu, Ting & Zhou 2008), grown by scikit-learn and kept as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from humwatch.tasks.detectors.kinds.algorithm import Matrix
from humwatch.tasks.settings import FitSettings


def fit_isolation_forest(features: Matrix, settings: FitSettings, seed: int, _notes: list[str]) -> Any:
    """The trees as arrays over all their nodes, end to end; a leaf is its own child.

    scikit-learn's trees are 128 objects of 20 kB, slow to load, and a damaged one crashes the process that follows it.
    """
    forest = IsolationForest(n_estimators=settings.isolation_forest_trees, random_state=seed).fit(features)
    trees = [each.tree_ for each in forest.estimators_]
    roots = np.cumsum([0] + [tree.node_count for tree in trees[:-1]])
    nodes = np.arange(sum(tree.node_count for tree in trees))
    is_leaf = np.concatenate([tree.children_left == -1 for tree in trees])
    left = np.concatenate([root + tree.children_left for root, tree in zip(roots, trees, strict=True)])
    right = np.concatenate([root + tree.children_right for root, tree in zip(roots, trees, strict=True)])
    levels = max(tree.max_depth for tree in trees)
    depth, level = np.zeros(len(nodes)), roots
    for below in range(1, levels + 1):
        level = level[~is_leaf[level]]
        level = np.concatenate([left[level], right[level]])
        depth[level] = below
    return {
        "roots": roots,
        "levels": levels,
        "left": np.where(is_leaf, nodes, left),
        "right": np.where(is_leaf, nodes, right),
        "feature": np.where(is_leaf, 0, np.concatenate([tree.feature for tree in trees])),
        "cut": np.concatenate([tree.threshold for tree in trees]),
        "path": depth + _mean_path(np.concatenate([tree.n_node_samples for tree in trees])),
        "mean_path": float(_mean_path(np.array([forest.max_samples_]))[0]),
    }


def _mean_path(samples: NDArray[np.integer[Any]]) -> Matrix:
    """Mean depth at which a random tree over so many samples isolates one (Liu, Ting & Zhou 2008, equation 1)."""
    others = np.maximum(samples - 1, 2)
    path = 2 * (np.log(others) + np.euler_gamma - others / (others + 1))
    mean: Matrix = np.where(samples > 2, path, np.maximum(samples - 1, 0))
    return mean


def score_isolation_forest(forest: Mapping[str, Any], features: Matrix) -> Matrix:
    """2 ** (-path / mean path), in (0, 1), as in the paper (Liu et al., equation 2) and minus scikit-learn's."""
    rows = features.astype(np.float32)  # what scikit-learn's trees were grown on
    row = np.arange(len(rows))[:, None]
    node = np.repeat(forest["roots"][None], len(rows), axis=0)
    for _ in range(forest["levels"]):
        goes_left = rows[row, forest["feature"][node]] <= forest["cut"][node]
        node = np.where(goes_left, forest["left"][node], forest["right"][node])
    scores: Matrix = 2 ** (-forest["path"][node].mean(axis=1) / forest["mean_path"])
    return scores
