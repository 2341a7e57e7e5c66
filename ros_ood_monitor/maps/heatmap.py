"""
Where in the picture: scores of grid cells as a map in image coordinates, and its regions.

A cell of the grid stands for an equal part of the network's input, and the input for a part of
the image that `Preprocessor.image_from_input` knows; a `Projection` puts the two together.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.records import Region

__all__ = ['Projection', 'regions_over']

Map = npt.NDArray[np.float32]


class Projection:
    """
    Takes the scores of grid cells into image coordinates.

    The map has a cell's own score at the cell's centre and lies between its neighbours' elsewhere,
    without an edge: nothing is higher than the highest cell.

    Parameters
    ----------
    image_from_input : ndarray of shape (3, 3), float64
        Affine map from input to image pixels, as `Preprocessor.image_from_input` gives it: scales
        and shifts of either axis.
    image_size, input_size, grid_size : tuple of int
        Height and width of the picture, of the network's input (both in px) and of the grid.

    Raises
    ------
    ParameterError
        If a size is empty, or the map turns, shears or mirrors.

    """

    def __init__(
        self,
        image_from_input: npt.NDArray[np.float64],
        *,
        image_size: tuple[int, int],
        input_size: tuple[int, int],
        grid_size: tuple[int, int],
    ) -> None:
        if min(*image_size, *input_size, *grid_size) < 1:
            msg = (
                'sizes must be at least 1x1, got image, input and grid of '
                + ', '.join(f'{w}x{h}' for h, w in (image_size, input_size, grid_size))
            )  # fmt: skip
            raise ParameterError(msg)
        (scale_x, turn_x, shift_x), (turn_y, scale_y, shift_y), last = image_from_input.tolist()
        if [turn_x, turn_y, *last] != [0.0, 0.0, 0.0, 0.0, 1.0] or min(scale_x, scale_y) <= 0.0:
            msg = (
                'geometry is unknown: expected scales and shifts of either axis, got '
                f'{image_from_input.tolist()}'
            )
            raise ParameterError(msg)
        self.grid_size = grid_size
        axes = tuple(zip(image_size, input_size, grid_size, strict=True))
        self._rows, seen_y = _weights(*axes[0], scale_y, shift_y)
        self._columns, seen_x = _weights(*axes[1], scale_x, shift_x)
        self._row_edges = _edges(*axes[0], scale_y, shift_y)
        self._column_edges = _edges(*axes[1], scale_x, shift_x)
        self._unseen = None if seen_y.all() and seen_x.all() else ~np.outer(seen_y, seen_x)

    def __call__(self, patch_score: npt.ArrayLike) -> Map:
        """
        Return the map of one picture.

        Parameters
        ----------
        patch_score : array_like of shape (grid_height, grid_width)
            Scores of the cells.

        Returns
        -------
        ndarray of shape (height, width), float32
            In the unit of ``patch_score``; NaN where the network has not looked (a crop).

        Raises
        ------
        ParameterError
            If the grid has another size.

        """
        patches = self._checked(patch_score)
        heat: Map = self._rows @ (patches @ self._columns.T)  # (H, W)
        # rounding alone could lift a constant map over its own value
        np.clip(heat, patches.min(), patches.max(), out=heat)
        if self._unseen is not None:
            heat[self._unseen] = np.nan
        return heat

    def regions_over(
        self, patch_score: npt.ArrayLike, threshold: float, *, at_most: int = 16
    ) -> list[Region]:
        """
        Return the regions of cells over a threshold, without making the map.

        Parameters
        ----------
        patch_score : array_like of shape (grid_height, grid_width)
            Scores of the cells.
        threshold, at_most
            As of `regions_over`, for cells.

        Returns
        -------
        list of Region
            Boxes and areas of whole cells in px of the image, the highest peak first; none of
            cells that stand for nothing of the image (a letterbox). The map itself runs down to
            its neighbours by up to half a cell beyond them.

        Raises
        ------
        ParameterError
            If the grid has another size.

        """
        found = []
        for region in regions_over(self._checked(patch_score), threshold, at_most=at_most):
            left, right = _span(self._column_edges, region.left, region.width)
            top, bottom = _span(self._row_edges, region.top, region.height)
            width, height = right - left, bottom - top
            if min(width, height) > 0:
                filled = region.area / (region.width * region.height)
                area = max(1, round(filled * width * height))
                found.append(Region(left, top, width, height, area, region.peak))
        return found

    def _checked(self, patch_score: npt.ArrayLike) -> Map:
        patches = np.asarray(patch_score, dtype=np.float32)
        if patches.shape != self.grid_size:
            msg = f'grid size mismatch: expected {self.grid_size}, got {patches.shape}'
            raise ParameterError(msg)
        return patches


def _weights(
    image: int, given: int, cells: int, scale: float, shift: float
) -> tuple[Map, npt.NDArray[np.bool_]]:
    """Return how much each cell counts at each image pixel of an axis, and what was looked at."""
    pixel = (np.arange(image) - shift) / scale  # (image,), input px; integers are centres
    seen = (pixel > -0.5 - 1e-9) & (pixel < given - 0.5 + 1e-9)
    place = np.clip((pixel + 0.5) * cells / given - 0.5, 0.0, cells - 1.0)  # cells, from 0
    low = np.minimum(place.astype(np.intp), max(cells - 2, 0))
    part = place - low
    part = part * part * (3.0 - 2.0 * part)  # no crease at the centres, no swing beyond them
    weight = np.zeros((image, cells), dtype=np.float32)
    weight[np.arange(image), low] = 1.0 - part
    if cells > 1:
        weight[np.arange(image), low + 1] = part
    return weight, seen


def _edges(image: int, given: int, cells: int, scale: float, shift: float) -> list[float]:
    """Return where the cells of an axis end in the image: pixel k reaches from k to k + 1."""
    edge = np.arange(cells + 1) * (given / cells) - 0.5  # (cells + 1,), input px
    return [float(x) for x in np.clip(edge * scale + shift + 0.5, 0.0, image)]


def _span(edges: list[float], first: int, count: int) -> tuple[int, int]:
    """Return the first pixel of some cells and the one behind their last."""
    # the 1e-6 keeps what rounding adds to a whole number from being another pixel
    return math.floor(edges[first] + 1e-6), math.ceil(edges[first + count] - 1e-6)


def regions_over(heat: Map, threshold: float, *, at_most: int = 16) -> list[Region]:
    """
    Return the regions of a map that lie over a threshold.

    Parameters
    ----------
    heat : ndarray of shape (height, width), float32
        A map in image coordinates.
    threshold : float
        Pixels strictly over it count; those that touch by an edge or a corner are one region.
    at_most : int, default 16
        The highest ones are returned, this many.

    Returns
    -------
    list of Region
        The highest peak first.

    """
    over = np.asarray(heat > threshold)  # (H, W); NaN is not over
    if not over.any():
        return []
    _, label, stats, _ = cv2.connectedComponentsWithStats(over.astype(np.uint8), connectivity=8)
    peaks = np.full(len(stats), -np.inf, dtype=np.float32)
    np.maximum.at(peaks, label[over].astype(np.intp), heat[over])
    highest = np.argsort(-peaks, kind='stable')[: min(at_most, len(stats) - 1)]  # 0 is the ground
    found = []
    for number in highest:
        left, top, width, height, area = stats[number].tolist()
        found.append(Region(left, top, width, height, area, float(peaks[number])))
    return found
