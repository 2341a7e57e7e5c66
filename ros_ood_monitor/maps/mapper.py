"""Heat-maps of pictures of any size: the cells of a frame, calibrated, in image coordinates."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.calibration import MapCalibration
from ros_ood_monitor.maps.heatmap import Projection
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.records import Region

__all__ = ['Mapper']

Map = npt.NDArray[np.float32]

_SIZES_KEPT: Final = 16  # a camera has one or two; folders of pictures may have any number


class Mapper:
    """
    Makes the maps of a bundle.

    Parameters
    ----------
    preprocess : Preprocessor
        How pictures become network inputs.
    calibration : MapCalibration, optional
        What the values mean: 0 is then what is normal and 1 the threshold. Where it is not given
        they stay as the engine gave them, and have no regions.

    """

    def __init__(
        self, preprocess: Preprocessor, calibration: MapCalibration | None = None
    ) -> None:
        self._preprocess = preprocess
        self._calibration = calibration
        self._known: dict[tuple[int, ...], Projection] = {}

    def __call__(self, patch_score: Map, size: tuple[int, int]) -> Map:
        """
        Return the map of a picture.

        Parameters
        ----------
        patch_score : ndarray of shape (grid_height, grid_width), float32
            Scores of its cells.
        size : tuple of int
            Height and width of the map, in px; the picture's own or any other.

        Returns
        -------
        ndarray of that shape, float32
            In image coordinates.

        """
        projection = self._projection(size, patch_score.shape)
        if self._calibration is None:
            return projection(patch_score)
        return projection(self._relative(patch_score, self._calibration))

    def peak(self, patch_score: Map) -> float:
        """Return the highest value of the map, of any size."""
        highest = patch_score.max()
        if self._calibration is None:
            return float(highest)
        return float(self._relative(highest, self._calibration))

    def regions(
        self, patch_score: Map, size: tuple[int, int], *, at_most: int = 8
    ) -> tuple[Region, ...]:
        """
        Return what lies over the threshold.

        Parameters
        ----------
        patch_score : ndarray of shape (grid_height, grid_width), float32
            Scores of the cells.
        size : tuple of int
            Height and width of the picture, in px.
        at_most : int, default 8
            The highest ones are returned, this many.

        Returns
        -------
        tuple of Region
            Whole cells, in px of the picture, the highest peak first; peaks as in the map.

        """
        calibration = self._calibration
        if calibration is None or not patch_score.max() > calibration.threshold:
            return ()
        projection = self._projection(size, patch_score.shape)
        found = projection.regions_over(patch_score, calibration.threshold, at_most=at_most)
        return tuple(
            region._replace(peak=float(self._relative(np.float32(region.peak), calibration)))
            for region in found
        )

    @staticmethod
    def _relative(value: Map | np.float32, calibration: MapCalibration) -> Map:
        span = calibration.threshold - calibration.normal
        relative = (value - np.float32(calibration.normal)) / np.float32(span)
        return np.asarray(relative, dtype=np.float32)

    def _projection(self, size: tuple[int, int], grid: tuple[int, ...]) -> Projection:
        key = (*size, *grid)
        known = self._known.get(key)  # another thread may forget it meanwhile
        if known is None:
            if len(self._known) >= _SIZES_KEPT:
                self._known.clear()
            height, width = grid
            known = self._known[key] = Projection(
                self._preprocess.image_from_input(*size),
                image_size=size,
                input_size=(self._preprocess.height, self._preprocess.width),
                grid_size=(height, width),
            )
        return known
