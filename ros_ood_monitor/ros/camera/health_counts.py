"""What was found in the pictures of one camera: counters, for diagnostics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
import threading

from ros_ood_monitor.records import Health

__all__ = ['HealthCounters', 'HealthCounts']


@dataclass(frozen=True)
class HealthCounters:
    """
    What is known at one moment.

    Parameters
    ----------
    latest : Health or None
        Of the latest frame; None before the first one and where none is looked at.
    failed : dict of str to int
        Frames that failed, by check, since activation.
    unusable : int
        Frames since activation whose score was not judged, because of the picture.
    since : dict of str to str
        Faults since the snapshot before, by check: the latest of each in words.
    unanswered : int
        Frames since activation for which the engine's answer was not finite.

    """

    latest: Health | None
    failed: dict[str, int]
    unusable: int
    since: dict[str, str]
    unanswered: int = 0


class HealthCounts:
    """Counters that the scoring and the reporting thread share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: Health | None = None
        self._failed: Counter[str] = Counter()
        self._unusable = self._unanswered = 0
        self._since: dict[str, str] = {}

    def on_frame(self, health: Health | None, *, has_answer: bool = True) -> dict[str, str]:
        """
        Take the health of the next frame.

        Parameters
        ----------
        health : Health or None
            None where nobody looked.
        has_answer : bool, default True
            Whether the engine's answer is finite.

        Returns
        -------
        dict of str to str
            What to log: by check, the fault that lasts since this frame, in words, and nothing
            where one is over.

        """
        with self._lock:
            before, self._latest = self._latest, health
            self._unanswered += not has_answer
            if health is None:
                return {}
            for fault in health.faults:
                self._failed[fault.name] += 1
                self._since[fault.name] = str(fault)
            self._unusable += has_answer and not health.is_usable
            were = before.lasting if before is not None else ()
            news = {name: self._since[name] for name in health.lasting if name not in were}
            return news | {name: '' for name in were if name not in health.lasting}

    def snapshot(self) -> HealthCounters:
        """Return what is known, and begin a new list of faults."""
        with self._lock:
            since, self._since = self._since, {}
            if self._latest is not None:  # what lasts is told in words even without a new frame
                self._since = {k: since[k] for k in self._latest.lasting if k in since}
            return HealthCounters(
                self._latest, dict(self._failed), self._unusable, since, self._unanswered
            )
