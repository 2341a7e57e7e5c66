"""
The Mahalanobis distance with a shrunk covariance, as the nll of a Gaussian.

References
----------
Ledoit, Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices.

"""

from __future__ import annotations

from ros_ood_monitor.training.detectors.fitted import Fitted
from ros_ood_monitor.training.detectors.gaussian import fit_gaussian
from ros_ood_monitor.training.rows import Rows

__all__ = ['fit']


def fit(features: Rows) -> Fitted:
    """
    Fit the Gaussian; see `ros_ood_monitor.training.detectors.gaussian`.

    Parameters
    ----------
    features : Rows
        Normalised features, (n, D).

    Returns
    -------
    Fitted
        With the Gaussian, which knows its shrinkage.

    Raises
    ------
    TrainingError
        If there are fewer than two rows, or a feature is not finite.

    """
    density, gaussian = fit_gaussian(features)
    return Fitted(density, gaussian=gaussian)
