"""
How many of the boxes around anomalies a map of scores finds.

Boxes are quick to draw and larger than what they surround, so the question is whether anything
inside a box is over a threshold, and how often the same happens where no box is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError

__all__ = ['Box', 'BoxHits', 'box_hits', 'check_box', 'mask_of_boxes']


class Box(NamedTuple):
    """An anomaly's place, in px: ``left <= x < right`` and ``top <= y < bottom``."""

    left: int
    top: int
    right: int
    bottom: int
    kind: str = ''


@dataclass(frozen=True)
class BoxHits:
    """
    How many boxes a map finds at a threshold.

    Parameters
    ----------
    count : int
        Boxes.
    rate : float
        Share of them that hold a pixel over the threshold.
    chance : float
        The same for windows that touch no box: of every window of a box's size in the box's own
        picture, averaged over boxes. A map that knows nothing has ``rate`` near it. NaN where no
        picture has room for one.

    """

    count: int
    rate: float
    chance: float


def check_box(box: Box, height: int, width: int) -> None:
    """
    Refuse a box that is empty or leaves its picture.

    Parameters
    ----------
    box : Box
        The box.
    height, width : int
        Size of the picture, in px.

    Raises
    ------
    ParameterError
        If it is empty or not wholly inside.

    """
    inside = 0 <= box.left < box.right <= width and 0 <= box.top < box.bottom <= height
    if not inside:
        msg = (
            f'box is not inside its picture: expected x from 0 to {width} and y from 0 to '
            f'{height}, got x {box.left} to {box.right} and y {box.top} to {box.bottom}'
        )
        raise ParameterError(msg)


def mask_of_boxes(boxes: Sequence[Box], height: int, width: int) -> npt.NDArray[np.bool_]:
    """
    Return the mask of a picture's boxes.

    Parameters
    ----------
    boxes : sequence of Box
        Boxes; they may overlap, and then are one region.
    height, width : int
        Size of the picture, in px.

    Returns
    -------
    ndarray of shape (height, width), bool
        True inside a box.

    Raises
    ------
    ParameterError
        If a box is empty or not wholly inside.

    """
    mask = np.zeros((height, width), dtype=np.bool_)
    for box in boxes:
        check_box(box, height, width)
        mask[box.top : box.bottom, box.left : box.right] = True
    return mask


def box_hits(
    pictures: Iterable[tuple[npt.NDArray[np.float32], Sequence[Box]]], threshold: float
) -> BoxHits:
    """
    Count the boxes that hold a pixel over a threshold.

    Parameters
    ----------
    pictures : iterable of tuple
        For each picture its map (height, width) and its boxes.
    threshold : float
        Threshold on the map. The rate means nothing without knowing how much of the normal
        pixels it flags too; `PixelScores.threshold_at` chooses it by that.

    Returns
    -------
    BoxHits
        Share of boxes that are hit, and what chance would hit.

    Raises
    ------
    ParameterError
        If there is no box, or one is empty or not wholly inside its picture.

    """
    hits: list[bool] = []
    chances: list[float] = []
    for score, boxes in pictures:
        boxed = mask_of_boxes(boxes, *score.shape)
        over = score > threshold  # (H, W)
        sums = [_integral(over), _integral(boxed)]
        for box in boxes:
            hits.append(bool(over[box.top : box.bottom, box.left : box.right].any()))
            size = box.bottom - box.top, box.right - box.left
            flagged, touched = (_window_sums(total, *size) > 0 for total in sums)
            if not touched.all():
                chances.append(float(np.mean(flagged[~touched])))
    if not hits:
        msg = 'box hit rate needs at least one box, got none'
        raise ParameterError(msg)
    chance = float(np.mean(chances)) if chances else float('nan')
    return BoxHits(len(hits), float(np.mean(hits)), chance)


def _integral(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    return np.asarray(cv2.integral(flags.astype(np.uint8)), dtype=np.int32)  # (H + 1, W + 1)


def _window_sums(total: npt.NDArray[np.int32], height: int, width: int) -> npt.NDArray[np.int32]:
    rows = total[height:] - total[:-height]
    return rows[:, width:] - rows[:, :-width]
