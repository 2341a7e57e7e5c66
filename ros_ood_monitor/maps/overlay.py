"""Heat-maps for people: colours on a fixed scale, over the picture, under a bar of words."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.maps.caption import caption, enlarged, enlargement
from ros_ood_monitor.maps.colours import CALIBRATED, colour_of, ColourScale, levels, Map, Picture
from ros_ood_monitor.records import Observation

__all__ = ['annotated', 'overlay']

_FAINTEST, _STRONGEST = 0.3, 0.65  # opacity at the threshold, and far over it
_POSITION: Final = np.arange(256) / 255.0
_OPACITY: Final = np.interp(
    _POSITION, [0.25, 0.5, 0.75], [0.0, _FAINTEST, _STRONGEST]
).astype(np.float32)  # fmt: skip
"""Opacity of the colours over a picture, by level: nothing hides what is normal."""
_FIRST_SEEN: Final = int(np.flatnonzero(_OPACITY)[0]) - 1


def overlay(rgb: Picture, heat: Map, scale: ColourScale) -> Picture:
    """
    Return a picture with what is over the threshold coloured and outlined.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), uint8
        The picture.
    heat : ndarray of shape (height, width), float32
        Its map.
    scale : ColourScale
        The fixed scale.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        A new picture, enlarged as `caption` does. The outline, white in black, runs at the
        threshold: where it is shows without any colour, and a picture without one has nothing
        over the threshold.

    Raises
    ------
    ParameterError
        If the sizes differ.

    """
    if rgb.shape[:2] != heat.shape:
        msg = f'map size mismatch: expected {rgb.shape[:2]} as the picture has, got {heat.shape}'
        raise ParameterError(msg)
    times = enlargement(rgb)
    drawn = enlarged(rgb, times)
    if times > 1:
        heat = np.asarray(cv2.resize(heat, drawn.shape[1::-1]), dtype=np.float32)
    level = levels(heat, scale)  # (H, W)
    left, top, width, height = cv2.boundingRect(np.asarray(level > _FIRST_SEEN, dtype=np.uint8))
    if width:
        part = np.s_[top : top + height, left : left + width]
        opacity = cv2.LUT(np.ascontiguousarray(level[part]), _OPACITY)
        drawn[part] = cv2.blendLinear(
            np.ascontiguousarray(drawn[part]), colour_of(level[part]), 1.0 - opacity, opacity
        )
    over = np.asarray(heat > scale.threshold, dtype=np.uint8)
    if over.any():
        pen = max(1, round(max(heat.shape) / 640))
        # as shapes and not as lines: a map that is all spots takes no longer than a quiet one
        wide = cv2.dilate(over, _square(pen))
        drawn[cv2.subtract(wide, cv2.erode(over, _square(2 * pen))) > 0] = 0
        drawn[cv2.subtract(over, cv2.erode(over, _square(pen))) > 0] = 255
    return drawn


def _square(reach: int) -> npt.NDArray[np.uint8]:
    return np.ones((2 * reach + 1, 2 * reach + 1), dtype=np.uint8)


def annotated(rgb: Picture, observation: Observation, *, width: int | None = None) -> Picture:
    """
    Return a picture with what the monitor says about it: the heat-map over it, words above it.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), uint8
        The picture that was observed.
    observation : Observation
        The answer to it; without a heat-map the picture stays as it is under its words.
    width : int, optional
        A wider picture is shrunk to this width first, in px.

    Returns
    -------
    ndarray of shape (height + bar, width, 3), uint8
        A new picture, enlarged as `caption` does.

    """
    if width is not None and rgb.shape[1] > width:
        height = max(1, round(rgb.shape[0] * width / rgb.shape[1]))
        rgb = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    heat = observation.heatmap_at((rgb.shape[0], rgb.shape[1]))
    if heat is not None:
        rgb = overlay(rgb, heat, CALIBRATED)
    return caption(
        rgb,
        raw_score=observation.raw_score,
        threshold=observation.threshold,
        score=observation.judged_score,
        state=observation.state,
        heatmap_peak=observation.heatmap_peak,
    )
