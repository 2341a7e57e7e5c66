"""What the fit of a closed form gives."""

from __future__ import annotations

from dataclasses import dataclass, field
import math
from typing import Final

from ros_ood_monitor.training.detectors.folded import Detector
from ros_ood_monitor.training.detectors.gaussian import Gaussian

__all__ = ['Fitted', 'distance_deviation']

_SMALLEST_DEVIATION: Final = 1e-4


@dataclass(frozen=True, eq=False)
class Fitted:
    """
    A detector, and what is to be told of its fit.

    Parameters
    ----------
    detector : Detector
        In float64.
    facts : dict of str to float or int
        Such as the number of components; for the manifest.
    gaussian : Gaussian or None
        What the detector is made of.

    """

    detector: Detector
    facts: dict[str, float | int] = field(default_factory=dict)
    gaussian: Gaussian | None = None


def distance_deviation(variance: float) -> float:
    """
    Return what distances to a point vary by where features are Gaussian.

    Parameters
    ----------
    variance : float
        Of the features, in each direction that the distance sees.

    Returns
    -------
    float
        ``sqrt(variance / 2)``, and at least 1e-4: under a hundredth of that, distances between
        features of unit length are rounding.

    """
    return max(math.sqrt(variance / 2.0), _SMALLEST_DEVIATION)
