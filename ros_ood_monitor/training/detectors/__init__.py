"""
Detectors in closed form, one file each: ``fit(features) -> Fitted``.

=================  ========================================================================
name               score of features x
=================  ========================================================================
``mean_distance``  distance to the mean
``mahalanobis``    nll of a Gaussian with Ledoit and Wolf's shrinkage
``ppca``           nll of a Gaussian of few components and equal variance outside of them
``pca_residual``   distance to the plane of these components
``knn``            mean distance to the nearest of some training frames
=================  ========================================================================

All are fitted to rows, pooled (n, D) or those of a grid (n * gh * gw, D), a chunk at a time, in
float64, and score with standard operators: matrix products, sums, roots, and TopK for ``knn``.
The flow, the one that is trained, is `ros_ood_monitor.training.flows.training`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ros_ood_monitor.training.detectors import (
    knn,
    mahalanobis,
    mean_distance,
    pca_residual,
    ppca,
)
from ros_ood_monitor.training.detectors.fitted import Fitted
from ros_ood_monitor.training.rows import Rows

__all__ = ['FITS', 'Fitted', 'fit_closed_form']

FITS: Final[dict[str, Callable[[Rows], Fitted]]] = {
    'mahalanobis': mahalanobis.fit,
    'ppca': ppca.fit,
    'mean_distance': mean_distance.fit,
    'pca_residual': pca_residual.fit,
    'knn': knn.fit,
}
"""What fits each of them."""


def fit_closed_form(kind: str, features: Rows, *, coreset: int | None = None) -> Fitted:
    """
    Fit a detector that is not trained.

    Parameters
    ----------
    kind : str
        One of `ros_ood_monitor.training.settings.densities.CLOSED_FORMS`.
    features : Rows
        Normalised features to fit to, (n, D).
    coreset : int, optional
        Size of that of ``knn``; see `knn`.

    Returns
    -------
    Fitted
        The detector in float64, and the facts of its fit.

    Raises
    ------
    TrainingError
        If there are fewer than two rows, a feature is not finite, or there are too few channels.

    """
    if kind == 'knn':
        return knn.fit(features, coreset)
    return FITS[kind](features)
