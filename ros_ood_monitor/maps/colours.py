"""
Colours of a map on a fixed scale: one colour is one value, and the threshold is its middle.

A scale stretched over each frame's own range would make the quietest frame look alarming.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError

__all__ = ['CALIBRATED', 'ColourScale', 'Map', 'Picture', 'colour', 'colour_of', 'levels']

Map = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]

_BLOCK: Final = 1 << 16  # pixels that are worked on at a time


@dataclass(frozen=True)
class ColourScale:
    """
    The fixed scale of a bundle's maps, tied to the operating point.

    Parameters
    ----------
    normal : float
        What cells of in-distribution frames have, say in the median: the lower end.
    threshold : float
        Over it a cell is anomalous: the middle.

    Raises
    ------
    ParameterError
        If they are not finite or not in this order.

    """

    normal: float
    threshold: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.normal) and np.isfinite(self.threshold)) or not (
            self.normal < self.threshold
        ):
            msg = (
                'colour scale needs a threshold over what is normal, got threshold '
                f'{self.threshold:g} and normal {self.normal:g}'
            )
            raise ParameterError(msg)

    def position(self, value: npt.ArrayLike) -> Map:
        """
        Return where values lie on the scale.

        Parameters
        ----------
        value : array_like
            Map values.

        Returns
        -------
        ndarray, float32
            0 where normal, rising evenly to 0.5 at the threshold; beyond, the distance to 1 halves
            as the distance from normal doubles, so that even far out more is more. 0 for NaN.

        """
        half, one = np.float32(0.5), np.float32(1.0)
        # in place: fresh memory for every step would take longer than the arithmetic
        ratio = np.array(value, dtype=np.float32)
        np.subtract(ratio, np.float32(self.normal), out=ratio)
        np.divide(ratio, np.float32(self.threshold - self.normal), out=ratio)
        np.maximum(ratio, np.float32(0.0), out=ratio)
        ratio[np.isnan(ratio)] = 0.0
        beyond = np.maximum(ratio, one)
        np.divide(half, beyond, out=beyond)
        np.minimum(ratio, one, out=ratio)
        np.multiply(ratio, half, out=ratio)
        np.add(ratio, half, out=ratio)
        np.subtract(ratio, beyond, out=ratio)
        return ratio


CALIBRATED: Final = ColourScale(normal=0.0, threshold=1.0)
"""The scale of an observation's heat-map."""


def colour(heat: Map, scale: ColourScale) -> Picture:
    """
    Return a map as colours.

    Parameters
    ----------
    heat : ndarray of shape (height, width), float32
        A map.
    scale : ColourScale
        The fixed scale.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        RGB from black (normal) over red (threshold) to pale yellow, brighter with every step: the
        order is seen with every kind of colour vision, and in grey.

    References
    ----------
    Smith, van der Walt (2015), A better default colormap for Matplotlib, SciPy (inferno).

    """
    return colour_of(levels(heat, scale))


def levels(heat: Map, scale: ColourScale) -> Picture:
    """Return a map's places on the scale, as 0 to 255."""
    level = np.empty(heat.shape, dtype=np.uint8)
    rows = max(1, _BLOCK // heat.shape[1])
    for top in range(0, len(heat), rows):  # in the processor's cache: several times faster
        position = scale.position(heat[top : top + rows])
        level[top : top + rows] = cv2.convertScaleAbs(position, alpha=255.0)
    return level


def colour_of(level: Picture) -> Picture:
    """Return places on the scale as RGB."""
    bgr = cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
