"""
Where in the picture: scores of grid cells as a map in image coordinates, and the map for people.

A cell of the grid stands for an equal part of the network's input, and the input for a part of
the image that `Preprocessor.image_from_input` knows; a `Projection` puts the two together. The
colours have a fixed scale: one colour is one value, in every frame, and the threshold is its
middle. A scale stretched over each frame's own range would make the quietest frame look alarming.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.records import State

__all__ = ['ColourScale', 'Projection', 'Region', 'caption', 'colour', 'overlay', 'regions_over']

Map = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]

# Okabe and Ito's colours, which stay apart with every kind of colour vision; the state's word
# stands beside them
_STATE_COLOURS: Final = {
    State.NORMAL: (0, 114, 178),
    State.SUSPECT: (230, 159, 0),
    State.ALERT: (213, 94, 0),
    State.STALE: (120, 130, 140),
    State.FAULT: (204, 121, 167),
}
_BAR: Final = (27, 39, 51)
_INK: Final = (255, 255, 255)
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_LEAST_WIDTH: Final = 320  # px, of a picture with a caption: less has no room to read it in
_FAINTEST, _STRONGEST = 0.3, 0.65  # opacity at the threshold, and far over it


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
        self._rows, seen_y = _weights(image_size[0], input_size[0], grid_size[0], scale_y, shift_y)
        self._columns, seen_x = _weights(
            image_size[1], input_size[1], grid_size[1], scale_x, shift_x
        )
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
        patches = np.asarray(patch_score, dtype=np.float32)
        if patches.shape != self.grid_size:
            msg = f'grid size mismatch: expected {self.grid_size}, got {patches.shape}'
            raise ParameterError(msg)
        heat: Map = self._rows @ (patches @ self._columns.T)  # (H, W)
        # rounding alone could lift a constant map over its own value
        np.clip(heat, patches.min(), patches.max(), out=heat)
        if self._unseen is not None:
            heat[self._unseen] = np.nan
        return heat


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


class Region(NamedTuple):
    """A connected part of a map over the threshold: its box and area in px, and its peak."""

    left: int
    top: int
    width: int
    height: int
    area: int
    peak: float


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
    found = []
    for number, row in enumerate(stats[1:].tolist(), start=1):
        left, top, width, height, area = row
        box = np.s_[top : top + height, left : left + width]
        peak = float(heat[box][label[box] == number].max())
        found.append(Region(left, top, width, height, area, peak))
    return sorted(found, key=lambda region: -region.peak)[:at_most]


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
    return _colour(_level(heat, scale))


def _level(heat: Map, scale: ColourScale) -> Picture:
    return np.asarray(cv2.convertScaleAbs(scale.position(heat), alpha=255.0), dtype=np.uint8)


def _colour(level: Picture) -> Picture:
    bgr = cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


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
    times = _times(rgb)
    drawn = _enlarged(rgb, times)
    if times > 1:
        heat = np.asarray(cv2.resize(heat, drawn.shape[1::-1]), dtype=np.float32)
    level = _level(heat, scale)  # (H, W)
    left, top, width, height = cv2.boundingRect(np.asarray(level > _FIRST_SEEN, dtype=np.uint8))
    if width:
        part = np.s_[top : top + height, left : left + width]
        opacity = _OPACITY[level[part]]
        drawn[part] = cv2.blendLinear(
            np.ascontiguousarray(drawn[part]), _colour(level[part]), 1.0 - opacity, opacity
        )
    over = np.asarray(heat > scale.threshold, dtype=np.uint8)
    outlines, _ = cv2.findContours(over, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    pen = max(1, round(max(heat.shape) / 640))
    cv2.drawContours(drawn, outlines, -1, (0, 0, 0), 3 * pen, cv2.LINE_AA)
    cv2.drawContours(drawn, outlines, -1, (255, 255, 255), pen, cv2.LINE_AA)
    return drawn


def caption(
    rgb: Picture, *, raw_score: float, threshold: float, score: float, state: State
) -> Picture:
    """
    Return a picture under a bar that says what the monitor says.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), uint8
        The picture. One narrower than 320 px is enlarged to at least that by a whole factor, for
        the words to have room.
    raw_score, threshold, score, state
        As in `Observation`.

    Returns
    -------
    ndarray of shape (height + bar, width, 3), uint8
        A new picture, the bar above the old one: it hides nothing.

    """
    if _times(rgb) > 1:
        rgb = _enlarged(rgb, _times(rgb))
    height, width = rgb.shape[:2]
    word = state.value
    numbers = f'raw {_short(raw_score)}  trigger {_short(threshold)}  score {score:.3f}'
    # the letters grow with the picture, as far as its width lets them
    letters = sum(cv2.getTextSize(text, _FONT, 1.0, 2)[0][0] for text in (word, numbers))
    size = min(width / (1.03 * letters + 52.0), max(0.4, min(height, width) / 640.0))
    pen = max(1, round(1.5 * size))
    bar = round(40.0 * size)
    badge = cv2.getTextSize(word, _FONT, size, pen)[0][0] + round(24.0 * size)
    drawn = np.empty((bar + height, width, 3), dtype=np.uint8)
    drawn[bar:] = rgb
    drawn[:bar] = _BAR
    drawn[:bar, :badge] = _STATE_COLOURS[state]
    baseline = round(29.0 * size)
    for text, left in ((word, 12.0 * size), (numbers, badge + 12.0 * size)):
        cv2.putText(drawn, text, (round(left), baseline), _FONT, size, _INK, pen, cv2.LINE_AA)
    return drawn


def _times(rgb: Picture) -> int:
    """Return the whole factor that makes a picture wide enough for words and outlines."""
    width: int = rgb.shape[1]
    return -(-_LEAST_WIDTH // width)


def _enlarged(rgb: Picture, times: int) -> Picture:
    """Return a copy with every pixel as a square of pixels."""
    return np.repeat(np.repeat(rgb, times, axis=0), times, axis=1) if times > 1 else rgb.copy()


def _short(value: float) -> str:
    return f'{value:,.0f}' if abs(value) >= 1000.0 else f'{value:.2f}'
