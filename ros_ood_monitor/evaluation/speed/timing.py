"""
Times of several calls measured side by side, so that their ratios hold on a busy machine.

Single times say as much about the neighbours and the clock rate as about the code. Here every
contender runs a short burst in every round, rounds alternate their order, and a ratio is taken
inside each round before the median over rounds: what slows one side slows the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
import time

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError

__all__ = ['Ratio', 'interleave', 'ratio', 'summary']

Call = Callable[[int], object]
"""One contender; its argument counts its calls from 0, to rotate through inputs."""

Times = npt.NDArray[np.float64]


def interleave(
    contenders: Mapping[str, Call], *, rounds: int, burst: int, warm_up: int
) -> dict[str, Times]:
    """
    Time contenders in interleaved bursts.

    Parameters
    ----------
    contenders : mapping of str to callable
        What to time; each is called with its running number.
    rounds : int
        How often every contender gets its turn.
    burst : int
        Calls in a row a turn.
    warm_up : int
        Calls of each contender before the first round, not counted. Every turn begins with one
        more of them, because the contender before it has left its own data in the caches.

    Returns
    -------
    dict of str to ndarray of shape (rounds, burst), float64
        Time of every call, in ms.

    Raises
    ------
    ParameterError
        If ``rounds`` or ``burst`` is less than 1.

    """
    if rounds < 1 or burst < 1:
        msg = f'rounds and burst must be at least 1, got {rounds} and {burst}'
        raise ParameterError(msg)
    times = {name: np.empty((rounds, burst)) for name in contenders}
    for call in contenders.values():
        for k in range(warm_up):
            call(k)
    order = list(contenders.items())
    for turn in range(rounds):
        for name, call in order if turn % 2 == 0 else reversed(order):
            call(turn * burst)
            for k in range(burst):
                start = time.perf_counter_ns()
                call(turn * burst + k)
                times[name][turn, k] = (time.perf_counter_ns() - start) / 1e6
    return times


@dataclass(frozen=True)
class Ratio:
    """
    How many times longer one contender takes than another.

    Parameters
    ----------
    median : float
        Median over rounds of the ratio of the medians in a round.
    of_minima : float
        Ratio of the fastest call of either.
    low, high : float
        Quartiles over rounds, around ``median``.

    """

    median: float
    of_minima: float
    low: float
    high: float


def ratio(slow: Times, fast: Times) -> Ratio:
    """
    Compare two contenders of one `interleave`.

    Parameters
    ----------
    slow, fast : ndarray of shape (rounds, burst), float64
        Their times.

    Returns
    -------
    Ratio
        ``slow`` over ``fast``.

    """
    each = np.median(slow, axis=1) / np.median(fast, axis=1)  # (rounds,)
    low, median, high = (float(value) for value in np.quantile(each, [0.25, 0.5, 0.75]))
    return Ratio(median, float(slow.min() / fast.min()), low, high)


def summary(times: Times) -> dict[str, float]:
    """
    Return the figures of a contender that a report shows.

    Parameters
    ----------
    times : ndarray of shape (rounds, burst), float64
        Its times, in ms.

    Returns
    -------
    dict of str to float
        ``min``, ``p50``, ``p90`` and ``p99`` in ms, and the number of calls ``n``.

    """
    p50, p90, p99 = (float(value) for value in np.quantile(times, [0.5, 0.9, 0.99]))
    return {'min': float(times.min()), 'p50': p50, 'p90': p90, 'p99': p99, 'n': times.size}
