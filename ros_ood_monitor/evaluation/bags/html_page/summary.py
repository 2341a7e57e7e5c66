"""What a reader sees first: the verdict with its colour, the cards, the bags that failed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from ros_ood_monitor.evaluation.bags.compare import Comparison
from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
from ros_ood_monitor.evaluation.bags.event_figures import EventFigures
from ros_ood_monitor.evaluation.bags.failures import failures
from ros_ood_monitor.evaluation.bags.html_page.verdict import (
    FEW_EVENTS,
    MANY_AN_HOUR,
    MUCH_IN_ALERT,
    verdict,
)
from ros_ood_monitor.evaluation.gate import GateOutcome
from ros_ood_monitor.evaluation.words import (
    duration,
    rate,
    SHORT_HOURS,
    span_of,
    TOO_SHORT,
)
from ros_ood_monitor.html_parts import number, table
from ros_ood_monitor.metrics import Interval

__all__ = ['cards', 'failed_bags', 'verdict_box']

_DASH: Final = '–'  # noqa: RUF001


def verdict_box(
    evaluation: BagEvaluation, comparisons: Sequence[Comparison], gate: GateOutcome | None
) -> str:
    """Return the verdict in its colour; a gate that is not kept stands first."""
    first, *rest = verdict(evaluation, comparisons)
    lines = [f'<p><b>{escape(first)}</b></p>', *(f'<p>{escape(line)}</p>' for line in rest)]
    if gate is not None:
        limits = f'<p><b>{escape(gate.headline)}</b></p>'
        limits += ''.join(f'<p>{escape(str(one))}</p>' for one in gate.short)
        lines.insert(len(lines) if gate.is_kept else 0, limits)
    return f'<div class="verdict {_look(evaluation, gate)}" id="verdict">{"".join(lines)}</div>'


def _look(evaluation: BagEvaluation, gate: GateOutcome | None) -> str:
    """Return the colour of the verdict: poor, unsure or good."""
    figures = evaluation.rows.together.events
    in_alert = figures.normal_time_in_alert or 0.0
    is_poor = figures.found < figures.events or figures.false_alerts or in_alert > MUCH_IN_ALERT
    if is_poor or (gate is not None and not gate.is_kept):
        return 'poor'
    return 'unsure' if evaluation.failed or _is_little(figures) else 'good'


def _is_little(figures: EventFigures) -> bool:
    """Tell whether what was seen is too little to call it good; the verdict says of what."""
    upper = figures.false_alerts_per_hour_upper95
    return figures.events < FEW_EVENTS or upper is None or upper > MANY_AN_HOUR


def failed_bags(evaluation: BagEvaluation, comparisons: Sequence[Comparison]) -> str:
    """Return the bags that failed, those of one reason together; nothing without any."""
    found = failures(evaluation, comparisons)
    if not found:
        return ''
    if not comparisons:
        return table(('bags', 'reason'), [(', '.join(one.bags), one.reason) for one in found])
    rows = [(', '.join(one.bags), one.bundle or 'every bundle', one.reason) for one in found]
    return table(('bags', 'with', 'reason'), rows)


def cards(evaluation: BagEvaluation) -> str:
    """Return the figures that most people look for."""
    row = evaluation.rows.together
    frames, events = row.frames, row.events
    area, interval = frames.metrics['auroc'], frames.intervals['auroc']
    upper = rate(events.false_alerts_per_hour_upper95, events.hours)
    is_long = (events.hours or 0.0) >= SHORT_HOURS
    calm = events.normal_time_in_alert
    shown = [
        ('events found', f'{events.found} of {events.events}',
         _ends(events.found_share_95, '.2f')),
        ('median time to alert', number(events.time_to_alert.median, '.2f', ' s'),
         _ends(events.time_to_alert.median_95, '.2f')),
        ('false alerts an hour', rate(events.false_alerts_per_hour, events.hours) or _DASH,
         f'at most {upper} with 95 % confidence') if is_long else
        ('false alerts', number(events.false_alerts, ',d'),
         f'in {duration(events.hours or 0.0)}: {TOO_SHORT}'),
        ('normal time in ALERT', number(calm, '.1%'), ''),
        ('AUROC of frames', number(area, '.4f'), _ends(interval, '.4f')),
        ('frames', f'{sum(len(bag.scored) for bag in evaluation.bags):,}',
         f'{frames.id_frames:,} in-distribution, {frames.ood_frames:,} OOD'),
    ]  # fmt: skip
    inner = ''.join(
        f'<div class="card"><span>{escape(name)}</span><b>{escape(value)}</b>'
        f'<span>{escape(more)}</span></div>'
        for name, value, more in shown
    )
    return f'<div class="cards">{inner}</div>'


def _ends(interval: Interval | None, form: str) -> str:
    return '' if interval is None else f'95 % interval {span_of(interval, form)}'
