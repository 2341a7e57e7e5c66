"""The last seconds of every camera, in memory that is bounded by bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
import heapq
from typing import NamedTuple

from ros_ood_monitor.records import AlertState

__all__ = ['Answer', 'Entry', 'Message', 'Ring']

_OVERHEAD: int = 1024  # of a message whatever its content: objects, headers, an index entry


class Message(NamedTuple):
    """
    One message as it was received or published; it becomes bytes only if it is written.

    Parameters
    ----------
    topic : str
        Its topic.
    msgtype : str
        Its type with three parts.
    content : int
        Bytes that it holds, about.
    serialize : callable
        Returns it as CDR.

    """

    topic: str
    msgtype: str
    content: int
    serialize: Callable[[], bytes]

    @property
    def size(self) -> int:
        """Return what it counts in memory, in bytes."""
        return self.content + _OVERHEAD


class Answer(NamedTuple):
    """What a summary needs of an observation; a heat-map would be as large as its frame."""

    camera: str
    raw_score: float
    threshold: float
    alert: AlertState


@dataclass(frozen=True)
class Entry:
    """
    A message in its place.

    Parameters
    ----------
    number : int
        Rises in the order of arrival.
    source : str
        The camera that it belongs to.
    stamp : float
        Image time, in s.
    message : Message
        The message.
    answer : Answer or None
        What was said of it, where it is a frame.

    """

    number: int
    source: str
    stamp: float
    message: Message
    answer: Answer | None = None


class Ring:
    """
    Holds entries of several cameras, each camera's by its own image time.

    Attributes
    ----------
    size : int
        Bytes held.

    """

    def __init__(self) -> None:
        self._held: dict[str, deque[Entry]] = {}
        self.size = 0

    def add(self, entry: Entry) -> None:
        """Take an entry, the newest one."""
        self._held.setdefault(entry.source, deque()).append(entry)
        self.size += entry.message.size

    def trim(self, source: str, oldest: float) -> None:
        """Drop a camera's entries from before an image time, in s."""
        held = self._held.get(source)
        while held and held[0].stamp < oldest:
            self.size -= held.popleft().message.size

    def shrink(self, size: int) -> None:
        """Drop the oldest entries of all cameras until no more than some bytes are held."""
        while self.size > max(0, size):
            held = min((h for h in self._held.values() if h), key=lambda h: h[0].number)
            self.size -= held.popleft().message.size

    def forget(self, source: str) -> None:
        """Drop everything of a camera."""
        self.size -= sum(entry.message.size for entry in self._held.pop(source, ()))

    def take(self) -> list[Entry]:
        """Return all entries in the order of arrival, and hold none of them any more."""
        entries = list(heapq.merge(*self._held.values(), key=lambda entry: entry.number))
        self._held.clear()
        self.size = 0
        return entries
