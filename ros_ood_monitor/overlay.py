"""
Heat-maps for people: colours on a fixed scale, over the picture, under a bar of words.

One colour is one value, in every frame, and the threshold is the middle of the scale. A scale
stretched over each frame's own range would make the quietest frame look alarming.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.records import Observation, State

__all__ = ['CALIBRATED', 'ColourScale', 'annotated', 'caption', 'colour', 'overlay']

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
_BLOCK: Final = 1 << 16  # pixels that are worked on at a time
_BRIGHT: Final = (State.SUSPECT, State.FAULT)  # dark words read better on these
_BAR: Final = (27, 39, 51)
_INK: Final = (255, 255, 255)
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_LEAST_WIDTH: Final = 320  # px, of a picture with a caption: less has no room to read it in
_FAINTEST, _STRONGEST = 0.3, 0.65  # opacity at the threshold, and far over it


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
    return _colour(_level(heat, scale))


def _level(heat: Map, scale: ColourScale) -> Picture:
    level = np.empty(heat.shape, dtype=np.uint8)
    rows = max(1, _BLOCK // heat.shape[1])
    for top in range(0, len(heat), rows):  # in the processor's cache: several times faster
        position = scale.position(heat[top : top + rows])
        level[top : top + rows] = cv2.convertScaleAbs(position, alpha=255.0)
    return level


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
        opacity = cv2.LUT(np.ascontiguousarray(level[part]), _OPACITY)
        drawn[part] = cv2.blendLinear(
            np.ascontiguousarray(drawn[part]), _colour(level[part]), 1.0 - opacity, opacity
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


def caption(
    rgb: Picture,
    *,
    raw_score: float,
    threshold: float,
    score: float,
    state: State,
    heatmap_peak: float | None = None,
) -> Picture:
    """
    Return a picture under a bar that says what the monitor says.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), uint8
        The picture. One narrower than 320 px is enlarged to at least that by a whole factor, for
        the words to have room.
    raw_score, threshold, score, state, heatmap_peak
        As in `Observation`; without a peak the bar says nothing of a map.

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
    if heatmap_peak is not None:
        numbers += f'  map {_short(heatmap_peak)} of 1'
    # the letters grow with the picture, as far as its width lets them
    letters = sum(cv2.getTextSize(text, _FONT, 1.0, 2)[0][0] for text in (word, numbers))
    size = min(width / (1.03 * letters + 52.0), max(0.5, min(height, width) / 640.0))
    pen = max(1, round(1.5 * size))
    bar = round(40.0 * size)
    badge = cv2.getTextSize(word, _FONT, size, pen)[0][0] + round(24.0 * size)
    drawn = np.empty((bar + height, width, 3), dtype=np.uint8)
    drawn[bar:] = rgb
    drawn[:bar] = _BAR
    drawn[:bar, :badge] = _STATE_COLOURS[state]
    baseline = round(29.0 * size)
    ink = _BAR if state in _BRIGHT else _INK
    for text, left, shade in ((word, 12.0 * size, ink), (numbers, badge + 12.0 * size, _INK)):
        cv2.putText(drawn, text, (round(left), baseline), _FONT, size, shade, pen, cv2.LINE_AA)
    return drawn


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


def _times(rgb: Picture) -> int:
    """Return the whole factor that makes a picture wide enough for words and outlines."""
    width: int = rgb.shape[1]
    return -(-_LEAST_WIDTH // width)


def _enlarged(rgb: Picture, times: int) -> Picture:
    """Return a copy with every pixel as a square of pixels."""
    return np.repeat(np.repeat(rgb, times, axis=0), times, axis=1) if times > 1 else rgb.copy()


def _short(value: float) -> str:
    return f'{value:,.0f}' if abs(value) >= 1000.0 else f'{value:.2f}'
