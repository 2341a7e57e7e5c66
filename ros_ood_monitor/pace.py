"""Which recorded frames a robot would have scored, and when: in real time, the newest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
import math
import time
from typing import Final, Protocol, TypeVar

__all__ = ['Arrived', 'Pace']

_ON_TIME_S: Final = 0.1
"""Lag that is no news, in s."""


class Arrived(Protocol):
    """What came in: the time at which, in s, and the topic."""

    log_time: float
    topic: str


_Item = TypeVar('_Item', bound=Arrived)


class Pace:
    """
    Gives frames on when a robot would have got to them, and leaves out what it would not have.

    The robot is the node's thread that scores: one engine, a slot of one for each camera, the
    camera whose last turn is longest ago first. A frame that comes while another one waits in its
    slot takes its place. Times are log times, those at which the recorder received the frames.

    Parameters
    ----------
    topics : sequence of str
        The cameras', in the node's order.
    rate : float, optional
        How many times as fast as recorded; by default nothing is waited for.
    drop : bool, default False
        Whether newer frames take the place of waiting ones; else every frame is given on.
    busy : float, optional
        How long the robot is busy with a frame, in s; by default as long as it takes whoever
        takes frames from here, times the rate.
    clock, sleep : callable
        Seconds, and what waits for some.

    Attributes
    ----------
    dropped : Counter of str
        Frames left out, by topic.
    given : int
        Frames given on.
    late : int
        Those that came over 0.1 s after their time, because whoever takes them is too slow for
        the rate.
    behind : float
        The longest such time, in s.

    """

    def __init__(
        self,
        topics: Sequence[str],
        *,
        rate: float | None = None,
        drop: bool = False,
        busy: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self.given = self.late = 0
        self.behind = 0.0
        self._turns = list(topics)
        self._rate, self._drop, self._busy = rate, drop, busy
        self._clock, self._sleep = clock, sleep
        self._began: tuple[float, float] | None = None  # by the clock, in log time

    @property
    def is_timed(self) -> bool:
        """Tell whether it matters when frames are taken from here."""
        return self._rate is not None or self._drop

    def through(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """
        Pass frames on.

        Parameters
        ----------
        items : iterable
            In the order of log time, such as `BagReader.pending` gives; not decoded yet, for what
            is left out need not be.

        Yields
        ------
        object
            The next one, taken at its time.

        """
        if not self._drop:
            for one in items:
                self._wait(one.log_time)
                yield one
            return
        waiting: dict[str, _Item] = {}
        free = -math.inf  # log time from which on the robot is free
        item: _Item | None
        for item in chain(items, [None]):
            while waiting and (item is None or free <= item.log_time):
                one = self._next(waiting)
                began = max(free, one.log_time)
                start = self._wait(began)
                yield one
                free = began + self._lasted(start)
            if item is not None:
                self.dropped[item.topic] += item.topic in waiting
                waiting[item.topic] = item

    def _next(self, waiting: dict[str, _Item]) -> _Item:
        topic = next(topic for topic in self._turns if topic in waiting)
        self._turns.remove(topic)
        self._turns.append(topic)
        return waiting.pop(topic)

    def _wait(self, log_time: float) -> float:
        """Wait for a log time; return the clock's."""
        self.given += 1
        if self._rate is not None:
            if self._began is None:
                self._began = self._clock(), log_time
            began, first = self._began
            ahead = (log_time - first) / self._rate - (self._clock() - began)
            if ahead > 0.0:
                self._sleep(ahead)
            self.late += ahead < -_ON_TIME_S
            self.behind = max(self.behind, -ahead)
        return self._clock()

    def _lasted(self, start: float) -> float:
        """Return how long the robot was busy with a frame that it began then, in s."""
        if self._busy is not None:
            return self._busy
        return (self._clock() - start) * (self._rate or 1.0)
