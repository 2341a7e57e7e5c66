"""A queue of one: whoever takes gets the newest, and what it replaced is counted."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

__all__ = ['LatestSlot']

_T = TypeVar('_T')


class LatestSlot(Generic[_T]):
    """
    Holds at most one item between one giving and one taking thread.

    A robot wants the answer to what it sees now; a longer queue would only make it late.
    """

    def __init__(self) -> None:
        self._item: _T | None = None
        self._open = True
        self._changed = threading.Condition()

    def put(self, item: _T) -> bool:
        """
        Give an item; never blocks.

        Parameters
        ----------
        item : object
            The newest item.

        Returns
        -------
        bool
            True where an older item was thrown away for it.

        """
        with self._changed:
            replaced = self._item is not None
            self._item = item
            self._changed.notify()
            return replaced

    def take(self, timeout: float) -> _T | None:
        """
        Take the item, waiting for one.

        Parameters
        ----------
        timeout : float
            Longest wait, in s.

        Returns
        -------
        object or None
            The newest item; None after the timeout or once the slot is closed.

        """
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or not self._open, timeout)
            item, self._item = self._item, None
            return item if self._open else None

    def close(self) -> None:
        """Wake the taker for good; items given later are never taken."""
        with self._changed:
            self._open = False
            self._changed.notify_all()

    @property
    def is_open(self) -> bool:
        """Tell whether items are still taken; False once closed."""
        return self._open
