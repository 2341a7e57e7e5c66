"""What can be wrong with a frame: names, units, and which faults leave nothing to judge."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Final

__all__ = ['CHECKS', 'Check']


@dataclass(frozen=True)
class Check:
    """
    One check.

    Parameters
    ----------
    name : str
        Its name.
    unit : str
        Unit of its value and of its limit; empty for a share.
    text : str
        What a fault is, for people.
    measures : str
        What its value is.
    blinds : bool
        Whether a frame that fails says nothing about the scene. Such a frame reaches no alert
        logic: it would be an anomaly to it, or count toward the end of one.
    lasts_at_once : bool
        Whether a single failure tells of many frames already.
    range : tuple of float
        The lowest and the highest value that a picture can have.
    margin : float
        How far inside its limit a value must be until a fault that lasts is over: a share of the
        width between two limits, or of the one. A value that dwells at its limit would otherwise
        be news every few frames.

    """

    name: str
    unit: str
    text: str
    measures: str
    blinds: bool = False
    lasts_at_once: bool = False
    range: tuple[float, float] = (-math.inf, math.inf)
    margin: float = 0.0


_SHARE: Final = (0.0, 1.0)
_LEVELS: Final = (0.0, 255.0)
_MARGIN: Final = 0.1  # of what varies without a step

CHECKS: Final = {
    check.name: check
    for check in (
        Check(
            'black',
            'grey levels',
            'the picture is black',
            'grey level that 99.9 % of the pixels are at or under',
            blinds=True,
            range=_LEVELS,
        ),
        Check(
            'saturated',
            '',
            'the picture is saturated',
            'share of pixels at grey level 250 or over',
            blinds=True,
            range=_SHARE,
        ),
        Check(
            'missing',
            '',
            'the lower part of the picture is missing',
            'share of rows in the block of one grey level, neither black nor white, that ends at '
            'the lower edge',
            blinds=True,
            range=_SHARE,
        ),
        Check(
            'blank',
            '',
            'a part of the picture is blank',
            'share of rows in the largest block of one grey level',
            blinds=True,
            range=_SHARE,
        ),
        Check(
            'frozen',
            's',
            'the picture stands still',
            'time for which no more than 0.2 % of the pixels have changed between two frames; '
            'a step counts 1 s at most',
            blinds=True,
            lasts_at_once=True,
            range=(0.0, math.inf),
        ),
        Check(
            'torn',
            '',
            'a part of the picture is an old one',
            'share of rows, from one edge on, that are those of the frame before, in a picture '
            'that has changed elsewhere',
            blinds=True,
            range=_SHARE,
        ),
        Check(
            'blurred',
            '',
            'the picture is blurred',
            'deviation of the Laplacian over that of the grey levels',
            range=(0.0, math.inf),
            margin=_MARGIN,
        ),
        Check(
            'noise',
            'grey levels',
            'the picture is noisy',
            'deviation of the noise: median response to a filter that ignores edges',
            range=(0.0, 63.1),  # 255 over the filter's gain
            margin=_MARGIN,
        ),
        Check(
            'banding',
            'grey levels',
            'the picture has bands',
            'median second difference of the means of rows, or of columns',
            range=(0.0, 510.0),
            margin=_MARGIN,
        ),
        Check(
            'exposure',
            'grey levels',
            'the exposure has drifted',
            'mean grey level, smoothed over 5 s',
            range=_LEVELS,
            margin=_MARGIN,
        ),
        Check(
            'colour',
            'grey levels',
            'the colours are others: red and blue may be swapped, or it is another scene',
            'mean of red less mean of blue, smoothed over 5 s',
            range=(-255.0, 255.0),
            margin=_MARGIN,
        ),
        Check(
            'format',
            '%',
            'the picture has other proportions',
            'difference of width over height from that of the training, or of the first frame',
        ),
        Check(
            'encoding',
            '',
            "the encoding is not the first frame's",
            '1 where it differs, else 0',
            range=_SHARE,
        ),
        Check(
            'stamps',
            's',
            'image stamps do not advance',
            'time from the stamp of the frame before',
        ),
        Check(
            'rate',
            'Hz',
            'frames come too slowly',
            'rate of the stamps, smoothed over 10 frames',
            margin=_MARGIN,
        ),
    )
}
"""Every check by its name, those that blind first."""
