"""A bar of words over a picture: what the monitor says of it."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from ros_ood_monitor.maps.colours import Picture
from ros_ood_monitor.records import State

__all__ = ['caption', 'enlarged', 'enlargement']

# Okabe and Ito's colours, which stay apart with every kind of colour vision; the state's word
# stands beside them
_STATE_COLOURS: Final = {
    State.NORMAL: (0, 114, 178),
    State.SUSPECT: (230, 159, 0),
    State.ALERT: (213, 94, 0),
    State.STALE: (120, 130, 140),
    State.FAULT: (204, 121, 167),
}
_BRIGHT: Final = (State.SUSPECT, State.FAULT)  # dark words read better on these
_BAR: Final = (27, 39, 51)
_INK: Final = (255, 255, 255)
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_LEAST_WIDTH: Final = 320  # px, of a picture with a caption: less has no room to read it in


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
    if enlargement(rgb) > 1:
        rgb = enlarged(rgb, enlargement(rgb))
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


def _short(value: float) -> str:
    return f'{value:,.0f}' if abs(value) >= 1000.0 else f'{value:.2f}'


def enlargement(rgb: Picture) -> int:
    """Return the whole factor that makes a picture wide enough for words and outlines."""
    width: int = rgb.shape[1]
    return -(-_LEAST_WIDTH // width)


def enlarged(rgb: Picture, times: int) -> Picture:
    """Return a copy with every pixel as a square of pixels."""
    return np.repeat(np.repeat(rgb, times, axis=0), times, axis=1) if times > 1 else rgb.copy()
