"""The scores of held-out sequences: what they have in common, and how they are dealt out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.image_time import image_times

__all__ = [
    'BLIND',
    'RATES_DIFFER',
    'STALE_AFTER',
    'ScoreStream',
    'frame_rate_of',
    'sequence_hours',
    'split_streams',
]

STALE_AFTER: Final = 2.0
"""Longest step between stamps that is watched time, in s; an alert logic starts anew after it."""

BLIND: Final = 'the camera was blind'
"""What an alert logic is told where frames that were not judged lay between two that were."""

RATES_DIFFER: Final = 0.2
"""Share by which frame rates differ that no longer count as one."""

_LEAST_SEQUENCES: Final = 4
_GUARD_S: Final = 60.0


@dataclass(frozen=True, eq=False)
class ScoreStream:
    """
    The scores of one camera in one sequence.

    Parameters
    ----------
    sequence : str
        Name of what was recorded in one go, that of no other.
    camera : str
        The camera; empty where there is only one.
    stamp, raw_score : ndarray of shape (n,), float64
        Image stamps in s, in the order of arrival, and the scores, of frames that are judged. A
        stamp that is out of order becomes the newest one, as alert logics take it.
    after_fault : ndarray of shape (n,), bool
        Whether the camera was in FAULT between the frame before and this one; nowhere by default.

    """

    sequence: str
    camera: str
    stamp: npt.NDArray[np.float64]
    raw_score: npt.NDArray[np.float64]
    after_fault: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def __post_init__(self) -> None:
        object.__setattr__(self, 'stamp', image_times(self.stamp))
        if not self.after_fault.size:
            object.__setattr__(self, 'after_fault', np.zeros(len(self.stamp), np.bool_))

    def __str__(self) -> str:
        return f'{self.sequence}, camera {self.camera}' if self.camera else self.sequence

    @property
    def hours(self) -> float:
        """Return the time watched: steps between stamps that do not interrupt an alert logic."""
        return float(self.watched.sum()) / 3600.0

    @property
    def watched(self) -> npt.NDArray[np.float64]:
        """Return the time watched from each frame but the last on, in s."""
        steps = np.diff(self.stamp)  # (n - 1,)
        return np.where((steps > 0.0) & ~self.begins[1:], steps, 0.0)

    @property
    def begins(self) -> npt.NDArray[np.bool_]:
        """Return which frames an alert logic meets with no evidence: after an interruption."""
        steps = np.diff(self.stamp, prepend=-np.inf)  # (n,)
        return (steps < 0.0) | (steps > STALE_AFTER) | self.after_fault

    def part(self, rows: slice) -> ScoreStream:
        """Return some of its frames."""
        names = ('stamp', 'raw_score', 'after_fault')
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def cut(self, share: float) -> tuple[ScoreStream, ScoreStream]:
        """Return its beginning and the share at its end, and neither what is near the cut."""
        watched = np.concatenate([[0.0], self.watched.cumsum()])[: len(self.stamp)]  # (n,)
        length = float(watched[-1]) if watched.size else 0.0
        guard = min(_GUARD_S, 0.1 * length)
        middle = (1.0 - share) * length
        first, last = np.searchsorted(watched, (middle - guard / 2, middle + guard / 2))
        return self.part(slice(0, int(first))), self.part(slice(int(last), None))


def frame_rate_of(streams: Sequence[ScoreStream]) -> float:
    """
    Return the frame rate that streams have in common.

    Parameters
    ----------
    streams : sequence of ScoreStream
        All of them.

    Returns
    -------
    float
        Median of the streams' medians, in Hz.

    Raises
    ------
    CalibrationError
        If there is no time watched, or rates differ by more than 20 %: what counts frames is
        another logic at another rate.

    """
    rates = {}
    for stream in streams:
        steps = stream.watched[stream.watched > 0.0]
        if steps.size:
            rates[str(stream)] = 1.0 / float(np.median(steps))
    if not rates:
        msg = (
            f'no time to watch: no two frames of a sequence are within {STALE_AFTER:g} s of each '
            'other; give recordings with stamps, at the frame rate of the robot'
        )
        raise CalibrationError(msg)
    middle = float(np.median(list(rates.values())))
    for name, rate in rates.items():
        if abs(rate - middle) > RATES_DIFFER * middle:
            msg = (
                f'frame rates differ: expected about {middle:.3g} Hz, got {rate:.3g} Hz; '
                f'calibrate on recordings of one rate, the one that the robot runs at: {name}'
            )
            raise CalibrationError(msg)
    return middle


def sequence_hours(streams: Sequence[ScoreStream]) -> dict[str, float]:
    """
    Return the hours watched of each sequence: those of its camera with the most.

    Cameras of one robot see the same hour: it is no two hours of evidence.

    Parameters
    ----------
    streams : sequence of ScoreStream
        All of them.

    Returns
    -------
    dict of str to float
        By sequence, in order of appearance.

    """
    cameras: dict[tuple[str, str], float] = {}
    for stream in streams:
        key = (stream.sequence, stream.camera)
        cameras[key] = cameras.get(key, 0.0) + stream.hours
    hours: dict[str, float] = {}
    for (name, _), watched in cameras.items():
        hours[name] = max(hours.get(name, 0.0), watched)
    return hours


def split_streams(
    streams: Sequence[ScoreStream], *, share: float, seed: int
) -> tuple[list[ScoreStream], list[ScoreStream], str]:
    """
    Divide sequences into those that choose a setting and those that state its rate.

    Parameters
    ----------
    streams : sequence of ScoreStream
        All of them.
    share : float
        Of the hours, those that state.
    seed : int
        Order in which sequences of equal length are dealt out.

    Returns
    -------
    choosing, stating : list of ScoreStream
        No frame is in both.
    rule : {'sequence', 'block'}
        Whole sequences where there are four or more; else the beginning of each chooses and its
        end states, and a minute between them (a tenth of a short one) does neither.

    """
    hours = sequence_hours(streams)
    if len(hours) < _LEAST_SEQUENCES:
        parts = [stream.cut(share) for stream in streams]
        return [first for first, _ in parts], [last for _, last in parts], 'block'
    names = list(hours)
    order = [names[k] for k in np.random.default_rng(seed).permutation(len(names))]
    total = sum(hours.values())
    lacking = [(1.0 - share) * total, share * total]
    stating = set()
    for name in sorted(order, key=lambda name: -hours[name]):
        part = int(lacking[1] >= lacking[0])
        lacking[part] -= hours[name]
        if part:
            stating.add(name)
    return (
        [stream for stream in streams if stream.sequence not in stating],
        [stream for stream in streams if stream.sequence in stating],
        'sequence',
    )
