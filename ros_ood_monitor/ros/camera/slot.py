"""A slot of one for every camera: the newest frame of each waits, and all get their turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import math
import threading
import time
from typing import Generic, TypeVar

__all__ = ['LatestSlots', 'Taken']

_T = TypeVar('_T')


@dataclass(frozen=True)
class Taken(Generic[_T]):
    """
    An item that was taken.

    Parameters
    ----------
    slot : int
        Where it lay.
    item : object
        The newest item of that slot.
    number : int
        How many had been put into the slot when it was, itself included.
    waited : float
        Time that it lay there, in s.
    is_late : bool
        Whether that was longer than allowed.

    """

    slot: int
    item: _T
    number: int
    waited: float
    is_late: bool


class LatestSlots(Generic[_T]):
    """
    Holds at most one item a slot between those that give and one thread that takes.

    A robot wants the answer to what it sees now; a longer queue would only make it late. The next
    item comes from the slot whose last turn is longest ago: a fast giver takes nothing from a slow
    one, and an empty slot costs no time.

    Parameters
    ----------
    number : int, default 1
        How many slots.
    clock : callable
        Seconds; an item that was put at a later time, before the clock ran back, is not late.

    """

    def __init__(self, number: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._items: list[tuple[_T, float] | None] = [None] * number
        self._numbers = [0] * number
        self._order = list(range(number))  # whose turn comes first
        self._clock = clock
        self._open = True
        self._changed = threading.Condition()

    def put(self, item: _T, slot: int = 0) -> bool:
        """
        Give an item; never blocks.

        Parameters
        ----------
        item : object
            The newest item.
        slot : int, default 0
            Where it goes.

        Returns
        -------
        bool
            True where an older item was thrown away for it.

        """
        with self._changed:
            replaced = self._items[slot] is not None
            self._items[slot] = item, self._clock()
            self._numbers[slot] += 1
            self._changed.notify()
            return replaced

    def take(self, timeout: float, max_wait: float = math.inf) -> Taken[_T] | None:
        """
        Take the item whose turn it is, waiting for one.

        Parameters
        ----------
        timeout : float
            Longest wait, in s.
        max_wait : float, optional
            An item that lay in its slot for longer is late. It costs its slot no turn: otherwise
            the slots that come last would be late at every round.

        Returns
        -------
        Taken or None
            None after the timeout or once the slots are closed.

        """
        return next(iter(self._take(timeout, max_wait, until=lambda _: True)), None)

    def take_together(
        self, most: int, timeout: float, max_wait: float = math.inf
    ) -> list[Taken[_T]]:
        """
        Take the items whose turn it is, waiting for one and not for any further.

        Parameters
        ----------
        most : int
            How many at most, at least 1; late ones come beside them and count as none.
        timeout, max_wait
            As `take` has them.

        Returns
        -------
        list of Taken
            Of as many slots, in their turn; empty after the timeout or once the slots are closed.

        """

        def is_enough(taken: list[Taken[_T]]) -> bool:
            return sum(not each.is_late for each in taken) >= most

        return self._take(timeout, max_wait, until=is_enough)

    def _take(
        self, timeout: float, max_wait: float, *, until: Callable[[list[Taken[_T]]], bool]
    ) -> list[Taken[_T]]:
        taken: list[Taken[_T]] = []
        with self._changed:
            self._changed.wait_for(lambda: any(self._items) or not self._open, timeout)
            now = self._clock()
            full = [slot for slot in self._order if self._items[slot] is not None]
            while self._open and full and not (taken and until(taken)):
                taken.append(self._take_from(full.pop(0), now, max_wait))
        return taken

    def _take_from(self, slot: int, now: float, max_wait: float) -> Taken[_T]:
        held, self._items[slot] = self._items[slot], None
        assert held is not None
        item, since = held
        waited = now - since
        is_late = waited > max_wait
        if not is_late:
            self._order.remove(slot)
            self._order.append(slot)
        return Taken(slot, item, self._numbers[slot], waited, is_late)

    def close(self) -> None:
        """Wake the taker for good; items given later are never taken."""
        with self._changed:
            self._open = False
            self._changed.notify_all()

    @property
    def is_open(self) -> bool:
        """Tell whether items are still taken; False once closed."""
        return self._open
