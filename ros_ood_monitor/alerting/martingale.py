"""Alert once betting against held-out scores has paid off."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
import math
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.alerting.accumulating import AccumulatingLogic, reflected
from ros_ood_monitor.errors import ParameterError

__all__ = ['MartingaleLogic']

_EXPONENTS: Final = (0.1, 0.3, 0.5)
"""From a bet on a few extreme scores to one on many high ones; beyond, a bet hardly loses."""
_BETS: Final = tuple((math.log(e), e - 1.0) for e in _EXPONENTS)


class MartingaleLogic(AccumulatingLogic):
    """
    Conformal test martingales with restarts.

    A frame's p-value is the share of held-out scores over its own, ties counted half: no
    randomness, so that a replay gives what the robot gave. Each of three bets
    ``e * p ** (e - 1)`` multiplies its capital, which starts anew at 1 whenever it falls under
    it; the statistic is the log of their mean capital. It counts frames, not time.

    Were the frames exchangeable with the held-out ones, and those new for every frame, the mean
    time to a false alert would be about ``exp(limit)`` frames at least. Frames of a video are not,
    and one set of held-out scores serves all: the limit must come from sequences, as every
    logic's.

    Parameters
    ----------
    limit : float
        On the log of the capital, in nats.
    scores : sequence of float
        Held-out in-distribution scores, ascending.
    stale_after : float, default 2.0
        Silence that makes the stream STALE, in s.

    Raises
    ------
    ParameterError
        If there are no scores, or a value is outside its range.

    References
    ----------
    Vovk, Gammerman, Shafer (2005), Algorithmic Learning in a Random World, section 7.1 (power
    martingales). Volkhonskiy et al. (2017), Inductive Conformal Martingales for Change-Point
    Detection, arXiv 1706.03415 (restarts).

    """

    STATISTIC: ClassVar[str] = 'evidence'

    def __init__(self, *, limit: float, scores: Sequence[float], stale_after: float = 2.0) -> None:
        if not len(scores):
            msg = 'martingale needs held-out scores, got none'
            raise ParameterError(msg)
        self.scores = tuple(map(float, scores))
        super().__init__(limit=limit, stale_after=stale_after)

    @property
    def threshold(self) -> float:
        """Return the upper quartile of held-out scores, over which the mildest bet wins."""
        return self.scores[int(0.75 * len(self.scores))]

    @property
    def _empty(self) -> float:
        return 0.0

    def _forget(self) -> None:
        super()._forget()
        self._logs = [0.0] * len(_BETS)  # of the capital of every bet

    def p_value(self, raw_score: float) -> float:
        """
        Return the mid-p-value of a score.

        Parameters
        ----------
        raw_score : float
            Higher = more anomalous.

        Returns
        -------
        float
            In (0, 1), not increasing in raw_score; the lower the less like held-out frames.

        """
        count = len(self.scores)
        not_over = bisect_right(self.scores, raw_score)
        equal = not_over - bisect_left(self.scores, raw_score)
        return (count - not_over + 0.5 * (equal + 1)) / (count + 1)

    def ceiling(
        self, raw_score: npt.NDArray[np.float64], elapsed: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return the log of the capital without bounds; see `AccumulatingLogic.ceiling`."""
        count = len(self.scores)
        below, not_over = (
            np.searchsorted(self.scores, raw_score, side) for side in ('left', 'right')
        )
        log_p = np.log((count - not_over + 0.5 * (not_over - below + 1)) / (count + 1))  # (n,)
        logs = np.array([reflected(log_e + power * log_p) for log_e, power in _BETS])  # (b, n)
        highest = logs.max(axis=0)
        found: npt.NDArray[np.float64] = highest + np.log(np.exp(logs - highest).mean(axis=0))
        return found  # (n,)

    def _grow(self, raw_score: float, elapsed: float, most: float) -> float:
        log_p = math.log(self.p_value(raw_score))
        logs = self._logs = [
            max(0.0, log + min(log_e + power * log_p, most))
            for log, (log_e, power) in zip(self._logs, _BETS, strict=True)
        ]
        highest = max(logs)
        total = sum(math.exp(log - highest) for log in logs)
        return highest + math.log(total / len(logs))

    def _cut(self, excess: float) -> None:
        self._logs = [max(0.0, log - excess) for log in self._logs]
