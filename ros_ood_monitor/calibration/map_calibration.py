"""What a map's values mean: its normal value and its threshold."""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.calibration.conformal import conformal_threshold
from ros_ood_monitor.errors import CalibrationError

__all__ = ['MapCalibration']

_LEAST_CONTRAST = 1e-3
"""Of a map's threshold over its normal value, in the unit of patch_score."""


@dataclass(frozen=True)
class MapCalibration:
    """
    What a map's values mean, in the unit of ``patch_score``.

    Parameters
    ----------
    normal : float
        Median of the cells of held-out frames.
    threshold : float
        A share alpha of in-distribution frames has a cell over it; more than ``normal``.
    alpha : float
        That share.

    Raises
    ------
    CalibrationError
        If a value is not finite, or the threshold is not over what is normal.

    """

    normal: float
    threshold: float
    alpha: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.normal) and math.isfinite(self.threshold)):
            msg = f'map values must be finite, got normal {self.normal}, {self.threshold}'
            raise CalibrationError(msg)
        if not self.normal < self.threshold:
            msg = (
                'map threshold must be over what is normal, got threshold '
                f'{self.threshold:g}, normal {self.normal:g}'
            )
            raise CalibrationError(msg)

    @classmethod
    def fit(cls, patch_score: npt.NDArray[np.float32], *, alpha: float = 0.01) -> MapCalibration:
        """
        Calibrate on the maps of held-out in-distribution frames.

        Parameters
        ----------
        patch_score : ndarray of shape (n, grid_height, grid_width), float32
            Maps by the deployed engine of frames that nothing was fitted to.
        alpha : float, default 0.01
            Share of in-distribution frames allowed to have a cell over the threshold.

        Returns
        -------
        MapCalibration
            The median of all cells, and the conformal threshold of the highest cell of a frame.

        Raises
        ------
        CalibrationError
            If a cell is not finite, or there are too few frames.

        """
        if patch_score.ndim != 3 or not np.all(np.isfinite(patch_score)):
            msg = f'held-out maps must be finite (n, gh, gw), got shape {patch_score.shape}'
            raise CalibrationError(msg)
        highest = patch_score.max(axis=(1, 2)).astype(np.float64)  # (n,)
        normal = float(np.median(patch_score))
        # a scene without any change has one value everywhere
        threshold = max(conformal_threshold(highest, alpha), normal + _LEAST_CONTRAST)
        return cls(normal, threshold, alpha)
