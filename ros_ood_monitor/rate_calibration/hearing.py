"""A limit at which the alert is silent in front of what is plainly odd is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.alerting import make_logic
from ros_ood_monitor.calibration import OperatingPoint
from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.rate_calibration.score_streams import ScoreStream
from ros_ood_monitor.records import State

__all__ = ['check_hearing']

_REACH: Final = 1.0
"""How far over the highest score that is known to be normal, in its distance to the median."""

_PATIENCE_S: Final = 60.0
"""Time in which an alert logic must hear what is far odder than all held-out frames."""


def check_hearing(
    point: OperatingPoint,
    held_out: npt.NDArray[np.float64],
    choosing: Sequence[ScoreStream],
    *,
    quiet: Mapping[str, float],
) -> tuple[str, ...]:
    """
    Refuse a limit at which the alert is silent in front of what is plainly odd.

    What is plainly odd lies as far over the highest score that is known as that over the median;
    the third of the choosing sequences that reaches highest is not asked, it may be odd itself,
    and where no other is left, twice as far.

    Sequences that are odd alike vouch for each other. Where the alert is heard so, and would not
    be if two thirds were not asked, those that are asked in between are doubtful.

    Returns
    -------
    tuple of str
        Names of the sequences of the upper two thirds, where the limit stands on their word
        alone; empty as a rule.

    """
    tops: dict[str, float] = {}
    for stream in choosing:
        top = float(stream.raw_score.max(initial=-math.inf))
        tops[stream.sequence] = max(top, tops.get(stream.sequence, top))
    names = sorted(tops, key=lambda name: tops[name])
    asked, sure = (len(names) - math.ceil(k * len(names) / 3) for k in (1, 2))
    known = [float(held_out[-1]), *(tops[name] for name in names)]
    highest, odd = _plainly_odd(known, asked, held_out)
    if _hears(point, held_out, odd):
        is_sure = sure == asked or _hears(point, held_out, _plainly_odd(known, sure, held_out)[1])
        return () if is_sure else tuple(names[sure:])
    (name, at), *others = quiet.items()
    rest = f', the others from {others[0][1]:.4g} on' if others else ''
    msg = (
        f'limit is beyond hearing: {point.logic} at {point.limit:.4g} '
        f'would be silent for {_PATIENCE_S:g} s of scores at {odd:.4g}, far over the highest '
        f'score that is known to be normal ({highest:.4g}); look at the loudest: '
        f'sequence {name} is quiet from {at:.4g} on{rest}. Leave out what is not normal, train '
        'with what is, or choose another logic'
    )
    raise CalibrationError(msg)


def _plainly_odd(
    known: Sequence[float], asked: int, held_out: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """Return the highest score known to be normal by so many sequences, and one far over it."""
    highest, middle = max(known[: asked + 1]), float(np.median(held_out))
    odd = highest + (_REACH if asked else 2.0 * _REACH) * (highest - middle)
    return highest, odd + 1e-9 * max(1.0, abs(odd))  # scores that are all the same


def _hears(point: OperatingPoint, held_out: npt.NDArray[np.float64], odd: float) -> bool:
    logic = make_logic(point, held_out, stale_after=math.inf)
    frames = math.ceil(_PATIENCE_S * point.frame_rate_hz) + point.trigger_frames
    steps = (logic.update(odd, k / point.frame_rate_hz).state for k in range(frames))
    return any(state is State.ALERT for state in steps)
