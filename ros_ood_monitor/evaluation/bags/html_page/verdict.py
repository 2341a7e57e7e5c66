"""What an evaluation says about a bundle, in words."""

from __future__ import annotations

from typing import Final

from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
from ros_ood_monitor.evaluation.bags.event_figures import EventFigures

__all__ = ['verdict']

_FEW_EVENTS: Final = 10
_MANY_AN_HOUR: Final = 5.0


def verdict(evaluation: BagEvaluation) -> list[str]:
    """
    Return the verdict.

    Parameters
    ----------
    evaluation : BagEvaluation
        What `evaluate_bags` found.

    Returns
    -------
    list of str
        First what happened, in one sentence; then what it does not say, or what to doubt.

    """
    row = evaluation.rows.together
    figures, frames = row.events, row.frames
    parts = [part for part in (_events(figures), _false_alerts(figures)) if part]
    first = ' and '.join(parts) if parts else 'found nothing to judge alerts by'
    lines = [f'{evaluation.bundle.manifest.name} {first}.']
    area = frames.metrics['auroc']
    if area is not None:
        interval = frames.intervals['auroc']
        ends = f' (95 % interval {interval.low:.4f} to {interval.high:.4f})' if interval else ''
        lines.append(
            f'A frame of an event scores higher than an in-distribution one in {area:.2%} of all '
            f'pairs{ends}.'
        )
    lines += _limits(figures)
    if evaluation.failed:
        total = len(evaluation.failed) + len(evaluation.bags)
        lines.append(f'{len(evaluation.failed)} of {total} bags could not be evaluated.')
    return lines


def _events(figures: EventFigures) -> str:
    if not figures.events:
        return ''
    missed = figures.events - figures.found
    if figures.events == 1:
        text = 'found the only event' if not missed else 'missed the only event'
    elif not missed:
        text = f'found all {figures.events} events'
    elif figures.found:
        text = f'missed {missed} of {figures.events} events'
    else:
        text = f'found none of {figures.events} events'
    median = figures.time_to_alert.median
    if median is None:
        return text
    after = f'{median:.2f} s after {"it" if figures.events == 1 else "they"} began'
    return f'{text}, {after}' if figures.time_to_alert.count == 1 else f'{text}, typically {after}'


def _false_alerts(figures: EventFigures) -> str:
    if not figures.hours:
        return ''
    watched = f'in {_duration(figures.hours)} of in-distribution time'
    if not figures.false_alerts:
        return f'raised no false alert {watched}'
    alerts = f'{figures.false_alerts} false alert{"s" if figures.false_alerts > 1 else ""}'
    return f'raised {alerts} {watched} ({figures.false_alerts_per_hour:.3g} an hour)'


def _limits(figures: EventFigures) -> list[str]:
    lines = []
    upper = figures.false_alerts_per_hour_upper95
    if upper is not None:
        little = (
            ': too little was watched to promise few'
            if upper > _MANY_AN_HOUR and not figures.false_alerts
            else ''
        )
        lines.append(
            f'With 95 % confidence there are at most {upper:.3g} false alerts an hour{little}.'
        )
    else:
        lines.append('No in-distribution time was watched, so nothing is known of false alerts.')
    if not figures.events:
        lines.append('Without events nothing is known of what it finds.')
    elif figures.events < _FEW_EVENTS and figures.found_share_95:
        low, high = figures.found_share_95
        lines.append(
            f'With so few events, the share that it finds lies anywhere from {low:.0%} to '
            f'{high:.0%}.'
        )
    if figures.missed_in_fault:
        lines.append(
            f'{figures.missed_in_fault} of the missed events fell into FAULT, where the monitor '
            'said that it could not tell.'
        )
    return lines


def _duration(hours: float) -> str:
    if hours >= 1.0:
        return f'{hours:.1f} h'
    return f'{hours * 60.0:.1f} min' if hours * 60.0 >= 1.0 else f'{hours * 3600.0:.0f} s'
