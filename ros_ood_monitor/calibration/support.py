"""On how many held-out frames a threshold rests."""

from __future__ import annotations

import math

from ros_ood_monitor.calibration.calibration import Calibration
from ros_ood_monitor.calibration.conformal import conformal_rank

__all__ = ['map_warning', 'trigger_support', 'trigger_warning']

_FIRM = 10
"""Held-out scores over the trigger at which one of them moves it little."""


def trigger_support(calibration: Calibration) -> tuple[int, int]:
    """
    Tell on how many held-out frames the trigger threshold rests.

    Parameters
    ----------
    calibration : Calibration
        The held-out scores and the threshold.

    Returns
    -------
    above : int
        Held-out frames over the threshold.
    needed : int
        Held-out frames at which ten would be: the smallest n with ``alpha (n + 1) >= 11``; 0 where
        the threshold was set by other means than a share of frames.

    """
    point = calibration.operating_point
    above = int((calibration.raw_score > point.trigger).sum())
    return above, _frames_for_ten(point.alpha) if 0.0 < point.alpha < 1.0 else 0


def trigger_warning(calibration: Calibration) -> str:
    """Return a warning where the trigger hangs on the one or two highest scores, else nothing."""
    above, needed = trigger_support(calibration)
    if above > 1 or not needed:
        return ''
    held_out = calibration.raw_score.size
    return (
        f'the trigger hangs on single frames: {above or "none"} of {held_out} held-out frames '
        f'scored over it; {_FIRM} would with {needed} held out'
    )


def map_warning(calibration: Calibration) -> str:
    """Return a warning where the map's threshold hangs on the one or two highest cells, if any."""
    if calibration.map is None:
        return ''
    alpha, held_out = calibration.map.alpha, calibration.raw_score.size
    # by its rule: the highest cells themselves are not kept
    above = held_out - conformal_rank(held_out, alpha)
    if above > 1:
        return ''
    return (
        f"the map's threshold hangs on single frames: {above or 'none'} of {held_out} held-out "
        f'frames had a cell over it; {_FIRM} would with {_frames_for_ten(alpha)} held out'
    )


def _frames_for_ten(alpha: float) -> int:
    return math.ceil((_FIRM + 1) / alpha - 1e-9) - 1
