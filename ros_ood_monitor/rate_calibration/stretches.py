"""Where in a stream a logic that adds evidence up can alert: all else need not be run through."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.alerting import AccumulatingLogic
from ros_ood_monitor.rate_calibration.score_streams import BLIND, ScoreStream
from ros_ood_monitor.records import AlertState, State

__all__ = ['Stretches']

_SURE: Final = 1.0 - 1e-9
"""Of the limit: added up at once or one by one, sums differ in their last digits."""


class Stretches:
    """
    A stream under a logic that adds evidence up, run frame by frame only where that matters.

    Evidence that is not bounded by the limit is never less than what is, and where none of it is
    left, none of the other is either: from such a frame the logic starts as from the beginning,
    and up to the next that is over the limit it raises no alert. Both are found for all frames at
    once, whatever the limit; between, the logic itself runs.

    Parameters
    ----------
    stream : ScoreStream
        The stream.
    logic : AccumulatingLogic
        Made for it; its limit does not matter.

    """

    def __init__(self, stream: ScoreStream, logic: AccumulatingLogic) -> None:
        self._stream = stream
        self._begins = stream.begins  # (n,)
        steps = np.diff(stream.stamp, prepend=stream.stamp[:1])
        self._elapsed = np.where(self._begins, 0.0, steps)  # (n,)
        parts = np.split(np.arange(len(steps)), np.flatnonzero(self._begins)[1:])
        heights = [self._ceiling(logic, part) for part in parts]
        self._height = np.concatenate(heights)  # (n,)
        self._starts = np.concatenate([_starts_of(height) for height in heights])  # (n,)

    def run(self, logic: AccumulatingLogic) -> Iterator[tuple[int, AlertState]]:
        """
        Run the logic where it can alert.

        Parameters
        ----------
        logic : AccumulatingLogic
            With its limit.

        Yields
        ------
        tuple of (int, AlertState)
            A frame's place and the state after it. Frames that are left out leave the stream in
            NORMAL or SUSPECT, and none follows an alert before one in NORMAL does.

        """
        over = self._height > _SURE * logic.height  # (n,)
        starts, place = self._starts, 0
        while over[place:].any():
            loud = place + int(np.argmax(over[place:]))
            first = place + int(np.flatnonzero(starts[place : loud + 1])[-1])
            place = yield from self._step(logic, first, loud)
            # no evidence is left here, and some of what is unbounded: up to its end it is less
            end = place + int(np.argmax(np.append(starts[place:], True)))
            if end > place:
                height = self._ceiling(logic, np.arange(place, end))  # (k,)
                over[place:end] = height > _SURE * logic.height
                starts = starts.copy()
                starts[place:end] = _starts_of(height)

    def _step(
        self, logic: AccumulatingLogic, first: int, loud: int
    ) -> Generator[tuple[int, AlertState], None, int]:
        """Run the logic from a start over a loud frame to calm; return the next frame's place."""
        raw_score, stamp = self._stream.raw_score, self._stream.stamp
        logic.reset()
        if not self._begins[first]:
            logic.update(float(raw_score[first - 1]), float(stamp[first - 1]))
        for place in range(first, len(stamp)):
            if self._stream.after_fault[place]:
                logic.fault(BLIND)
            alert = logic.update(float(raw_score[place]), float(stamp[place]))
            yield place, alert
            if place >= loud and alert.state is State.NORMAL and logic.is_empty:
                return place + 1
        return len(stamp)

    def _ceiling(
        self, logic: AccumulatingLogic, rows: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float64]:
        return logic.ceiling(self._stream.raw_score[rows], self._elapsed[rows])


def _starts_of(height: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return before which frames there is no evidence."""
    return np.concatenate([[True], height[:-1] <= 0.0])[: len(height)]
