"""Numbers of an evaluation as people read them: no powers of ten, no rates of a few seconds."""

from __future__ import annotations

import math
from typing import Final

from ros_ood_monitor.metrics import Interval

__all__ = ['SHORT_HOURS', 'TOO_SHORT', 'duration', 'plain', 'rate', 'span_of']

SHORT_HOURS: Final = 1 / 6
"""In-distribution time of which no hourly rate is told."""

TOO_SHORT: Final = 'too short for a rate'


def plain(value: float) -> str:
    """Return a number with three digits that count, as people write it."""
    if not value:
        return '0'
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f'{value:,.{digits}f}'
    return text.rstrip('0').rstrip('.') if '.' in text else text


def duration(hours: float) -> str:
    """Return a time in s, min or h."""
    if hours >= 1.0:
        return f'{hours:,.1f} h'
    return f'{hours * 60.0:.1f} min' if hours * 60.0 >= 1.0 else f'{hours * 3600.0:.0f} s'


def rate(per_hour: float | None, hours: float | None) -> str:
    """Return a rate an hour, if so much was watched that there is one; nothing for None."""
    if per_hour is None or not hours:
        return ''
    return TOO_SHORT if hours < SHORT_HOURS else plain(per_hour)


def span_of(interval: Interval | None, form: str) -> str:
    """Return an interval; nothing for None."""
    return '' if interval is None else f'{interval.low:{form}} to {interval.high:{form}}'
