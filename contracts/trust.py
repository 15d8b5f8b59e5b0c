"""Types that may be loaded from skops files: one list, for the registry's check and for the worker that loads."""

from typing import Final

TRUSTED_TYPES: Final = frozenset({
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.Interval",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neighbors._ball_tree.BallTree",
})  # fmt: skip
"""Data holders of scikit-learn that skops does not trust by itself; a model's own list of trust counts nothing."""
