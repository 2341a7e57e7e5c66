"""
The distance to the plane of the principal components.

References
----------
Jackson, Mudholkar (1979), Control procedures for residuals associated with principal component
analysis (the Q statistic, whose root this is).

"""

from __future__ import annotations

from torch import Tensor

from ros_ood_monitor.training.detectors.components import (
    Components,
    Plane,
    principal_components,
)
from ros_ood_monitor.training.detectors.fitted import distance_deviation, Fitted
from ros_ood_monitor.training.detectors.folded import Detector
from ros_ood_monitor.training.rows import Rows

__all__ = ['PcaResidual', 'fit']


class PcaResidual(Detector):
    """
    Euclidean distance to a plane.

    Parameters
    ----------
    components : Components
        That span it.

    """

    def __init__(self, components: Components) -> None:
        super().__init__(0.0, distance_deviation(components.rest))
        self.plane = Plane(components)

    def energy(self, features: Tensor) -> Tensor:
        """Return the distance; see `Detector.energy`."""
        squared: Tensor = self.plane(features)[1]  # (N,)
        return squared.sqrt()


def fit(features: Rows) -> Fitted:
    """
    Take the plane of as many components as hold 95 % of the variance.

    Parameters
    ----------
    features : Rows
        Normalised features, (n, D).

    Returns
    -------
    Fitted
        With the number of components.

    Raises
    ------
    TrainingError
        If there are fewer than two rows or columns, or a feature is not finite.

    """
    components = principal_components(features)
    return Fitted(PcaResidual(components), {'components': len(components.directions)})
