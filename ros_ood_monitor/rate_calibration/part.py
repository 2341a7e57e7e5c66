"""One part of the sequences: its alerts at any limit, and the limit that it asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from itertools import pairwise
import math
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.calibration import OperatingPoint
from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.rate_calibration.alerts import Alerts, Count, LOGICS_ON_SCORES
from ros_ood_monitor.rate_calibration.score_streams import ScoreStream, sequence_hours
from ros_ood_monitor.rates import Tail

__all__ = ['Part']

_LEAST_LIMITS: Final = {'cusum': 1.0, 'martingale': math.log(20.0)}
"""A deviation for a second, and a capital of 20: no evidence is less; of raw_score, the upper
quartile of the held-out ones."""

_DOUBLINGS: Final = 60
_HALVINGS: Final = 12
_LEVELS: Final = 24
_LOUDEST: Final = 3
"""Sequences that are told apart by the limit that they ask for."""

_MANY: Final = 60
"""Alerts in the choosing hours that a tail is fitted to, where there are so many."""

_BEYOND: Final = 0.25
"""Margin over the highest alert where there are too few for a tail, as a share of its height."""


class Part:
    """Counts the alerts of some streams at any limit."""

    def __init__(
        self,
        streams: Sequence[ScoreStream],
        point: OperatingPoint,
        held_out: npt.NDArray[np.float64],
        count: Count,
        tell: Callable[[str], None] | None,
    ) -> None:
        self._held_out = held_out
        self._streams = [stream for stream in streams if stream.hours > 0.0]
        hours = sequence_hours(self._streams)
        self._names, self.hours = list(hours), tuple(hours.values())
        self._point = point
        self._count = count
        self._tell = tell
        self.count = cache(self._count_at)
        self._alerts = cache(self._alerts_at)

    def _alerts_at(self, place: int, limit: float) -> Alerts:
        return self._count(self._streams[place], self._point.at_limit(limit))

    def _count_at(self, limit: float) -> dict[str, Alerts]:
        if self._tell:
            self._tell(f'limit {limit:.4g}')
        found = dict.fromkeys(self._names, Alerts(0, 0.0))
        for k, stream in enumerate(self._streams):
            episodes, seconds = found[stream.sequence]
            more = self._alerts(k, limit)
            found[stream.sequence] = Alerts(episodes + more.episodes, seconds + more.seconds)
        return found

    def _episodes(self, limit: float) -> list[int]:
        return [alerts.episodes for alerts in self.count(limit).values()]

    def _is_quiet(self, limit: float) -> bool:
        if self._tell:
            self._tell(f'limit {limit:.4g}')
        return not any(self._alerts(k, limit).episodes for k in range(len(self._streams)))

    def choose_limit(self, aim: float, most_in_alert: float) -> tuple[float, str]:
        """
        Return the limit for a rate, and what decided it.

        Parameters
        ----------
        aim : float
            Alerts per hour.
        most_in_alert : float
            Share of the time that may be in ALERT.

        Returns
        -------
        limit : float
            The highest of those that are asked for.
        decided_by : {'alerts', 'tail', 'margin', 'least'}
            Who asks: the alerts that there are, a tail fitted to them, a margin over the highest
            where they are too few for that, or the least that is evidence.

        """
        watched, most = sum(self.hours), 0
        limit = highest = self._levels[0]
        for level in self._levels:
            total = sum(self._episodes(level))
            hours = sum(alerts.seconds for alerts in self.count(level).values()) / 3600.0
            # fewer at a lower limit: alerts merge, in the end to one that never ends
            is_many = total > int(aim * (watched - hours))
            if is_many or total < most or hours > most_in_alert * watched:
                break
            limit, most = level, total
        asked = {'alerts': limit}
        try:
            asked['tail'] = self.tail().limit(aim)
        except CalibrationError:  # too few alerts to tell what is beyond them
            if any(self._episodes(self._levels[-1])):
                asked['margin'] = highest + _BEYOND * (highest - self._levels[-1])
        quartile = float(self._held_out[int(0.75 * self._held_out.size)])
        asked['least'] = _LEAST_LIMITS.get(self._point.logic, quartile)
        decided_by = max(asked, key=lambda name: asked[name])
        return asked[decided_by], decided_by

    def quiet_from(self) -> dict[str, float]:
        """
        Return the limit from which on each sequence has no alert, the highest first.

        Exact for three sequences at least; where it is lower than those, how low is not looked up.
        """
        found: dict[str, float] = {}
        level = self._levels[0]
        for upper, level in pairwise(self._levels):
            for name, alerts in self.count(level).items():
                if alerts.episodes:
                    found.setdefault(name, upper)
            if len(found) >= min(_LOUDEST, len(self._names)):
                break
        found = {name: found.get(name, level) for name in self._names}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def tail(self) -> Tail:
        """
        Fit the peaks of alerts: a level counts those that reach it, and none over the next one.

        Raises
        ------
        CalibrationError
            If there are too few.

        """
        peaks: list[list[float]] = [[] for _ in self._names]
        before = np.zeros(len(self._names), dtype=np.int64)
        start = self._levels[0]
        for upper, level in pairwise(self._levels):
            now = np.maximum(before, self._episodes(level))  # merged ones are no fewer for that
            for k, new in enumerate(now - before):
                places = (np.arange(new) + 0.5) / max(new, 1)
                peaks[k] += (level + places * (upper - level)).tolist()
            if now.sum() > before.sum():
                start = level
            before = now
            if before.sum() >= _MANY:
                break
        return Tail.fit([np.array(peak) for peak in peaks], self.hours, start=start)

    @cached_property
    def _levels(self) -> list[float]:
        """Return limits, from the lowest without an alert down to next to where all is calm."""
        calm, reach = 0.0, 1.0
        if self._point.logic in LOGICS_ON_SCORES:
            highest = max(float(stream.raw_score.max()) for stream in self._streams)
            calm = float(self._held_out.mean())
            spread = float(self._held_out.std()) or max(1.0, abs(calm))
            reach = max(highest - calm, 1e-3 * spread)
        low, high = calm, calm + reach
        for _ in range(_DOUBLINGS):
            if self._is_quiet(high):
                break
            low, high = high, calm + 2.0 * (high - calm)
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if self._is_quiet(middle) else (middle, high)
        return [high - k / _LEVELS * (high - calm) for k in range(_LEVELS)]
