"""What an evaluation says about a bundle, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ros_ood_monitor.evaluation.bags.compare import Comparison
from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
from ros_ood_monitor.evaluation.bags.event_figures import EventFigures
from ros_ood_monitor.evaluation.bags.frame_figures import FrameFigures
from ros_ood_monitor.evaluation.bags.report import side_by_side_words
from ros_ood_monitor.evaluation.words import duration, plain, SHORT_HOURS, span_of

__all__ = ['FEW_EVENTS', 'MANY_AN_HOUR', 'MUCH_IN_ALERT', 'verdict']

MUCH_IN_ALERT: Final = 0.01
"""Share of in-distribution time in ALERT that is told first."""

FEW_EVENTS: Final = 10
"""Events below which the share that is found says little."""

MANY_AN_HOUR: Final = 5.0
"""Upper bound of false alerts an hour, above which too little was watched to promise few."""


def verdict(evaluation: BagEvaluation, comparisons: Sequence[Comparison] = ()) -> list[str]:
    """
    Return the verdict.

    Parameters
    ----------
    evaluation : BagEvaluation
        What `evaluate_bags` found.
    comparisons : sequence of Comparison
        Other bundles beside it.

    Returns
    -------
    list of str
        First what happened, in one sentence; then what it does not say, or what to doubt.

    """
    row = evaluation.rows.together
    figures, frames = row.events, row.frames
    parts = [_events(figures), _false_alerts(figures), _in_alert(figures)]
    first = '; '.join(filter(None, parts)) or 'found nothing to judge alerts by'
    lines = [f'{evaluation.bundle.manifest.name} {first}.', *_frames(frames)]
    lines += _limits(figures)
    lines += [side_by_side_words(one) for one in comparisons]
    if evaluation.failed:
        total = len(evaluation.failed) + len(evaluation.bags)
        lines.append(f'{len(evaluation.failed)} of {total} bags could not be evaluated.')
    return lines


def _events(figures: EventFigures) -> str:
    if not figures.events:
        return ''
    missed = figures.events - figures.found - figures.was_on
    if figures.events == 1:
        if figures.was_on:
            return 'did not find the only event, which began under an alert that was on already'
        text = 'missed the only event' if missed else 'found the only event'
    elif figures.found == figures.events:
        text = f'found all {figures.events:,} events'
    else:
        whys = [f'missed {missed:,}'] if missed else []
        if figures.was_on:
            whys.append(f'{figures.was_on:,} began under an alert that was on already')
        found = f'{figures.found:,}' if figures.found else 'none'
        text = f'found {found} of {figures.events:,} events ({", ".join(whys)})'
    return text + _delay(figures)


def _delay(figures: EventFigures) -> str:
    times = figures.time_to_alert
    if times.median is None:
        return ''
    after = f'{times.median:.2f} s after'
    if figures.events == 1:
        return f', {after} it began'
    who = '' if figures.found == figures.events else 'the found ones '
    if times.count == 1:
        return f', {"one of them" if figures.found > 1 else "the found one"} {after} it began'
    return f', {who}typically {after} they began'


def _false_alerts(figures: EventFigures) -> str:
    if not figures.hours:
        return ''
    watched = f'in {duration(figures.hours)} of in-distribution time'
    if not figures.false_alerts:
        return f'raised no false alert {watched}'
    alerts = f'{figures.false_alerts:,} false alert{"s" if figures.false_alerts > 1 else ""}'
    if figures.hours < SHORT_HOURS or figures.false_alerts_per_hour is None:
        return f'raised {alerts} {watched}'
    return f'raised {alerts} {watched} ({plain(figures.false_alerts_per_hour)} an hour)'


def _in_alert(figures: EventFigures) -> str:
    share = figures.normal_time_in_alert or 0.0
    return f'was in ALERT in {share:.0%} of normal time' if share > MUCH_IN_ALERT else ''


def _frames(frames: FrameFigures) -> list[str]:
    lines = []
    area = frames.metrics['auroc']
    if area is not None:
        ends = span_of(frames.intervals['auroc'], '.4f')
        doubt = f' (95 % interval {ends})' if ends else ' (too little was seen for an interval)'
        lines.append(
            f'A frame of an event scores higher than an in-distribution one in {area:.2%} of all '
            f'pairs{doubt}.'
        )
    if frames.not_judged_frames:
        lines.append(
            f'{frames.not_judged_frames:,} frames were no usable pictures, or got no finite '
            f'score, and the monitor refused to judge them ({frames.not_judged_ood_frames:,} of '
            'them in events): no figure of frames counts them.'
        )
    return lines


def _limits(figures: EventFigures) -> list[str]:
    lines = []
    upper, hours = figures.false_alerts_per_hour_upper95, figures.hours or 0.0
    if upper is None:
        lines.append('No in-distribution time was watched, so nothing is known of false alerts.')
    elif hours < SHORT_HOURS:
        lines.append(f'{duration(hours)} of in-distribution time are too short for a rate.')
    else:
        little = (
            ': too little was watched to promise few'
            if upper > MANY_AN_HOUR and not figures.false_alerts
            else ''
        )
        lines.append(
            f'With 95 % confidence there are at most {plain(upper)} false alerts an hour{little}.'
        )
    if not figures.events:
        lines.append('Without events nothing is known of what it finds.')
    elif figures.events < FEW_EVENTS and figures.found_share_95:
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
