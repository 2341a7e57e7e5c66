"""Sections of alerts, events and single frames, with their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
from ros_ood_monitor.evaluation.bags.events import Event
from ros_ood_monitor.evaluation.bags.html_page.page_data import caption
from ros_ood_monitor.evaluation.bags.html_page.pictures import (
    ALERT,
    FALSE_ALARM,
    FALSE_ALERT,
    MISS,
    MISSED,
    Picture,
)
from ros_ood_monitor.evaluation.bags.html_page.tables import cut_table
from ros_ood_monitor.html_parts import Markup, number

__all__ = ['alerts_section', 'worst_section']


def alerts_section(evaluation: BagEvaluation, pictures: Sequence[Picture]) -> str:
    """Return alerts and events, false and missed ones with pictures."""
    html = ''.join(
        _gallery(title, why, pictures)
        for title, why in (
            ('False alerts', FALSE_ALERT),
            ('Missed events, at their highest score', MISSED),
            ('Alerts', ALERT),
        )
    )
    events = [(bag, event) for bag in evaluation.bags for event in bag.events]
    if events:
        html += '<h3>Events</h3>' + cut_table(
            ('bag', 'camera', 'kind', 'from', 'length', 'found', 'time to alert',
             'time to clear', 'in ALERT'),
            [
                (event.bag, event.camera, event.kind,
                 number(event.start - bag.scored.facts.origin, '.2f', ' s'),
                 number(event.end - event.start, '.2f', ' s'), _found(event),
                 number(event.time_to_alert, '.2f', ' s'),
                 number(event.time_to_clear, '.2f', ' s'), number(event.in_alert, '.0%'))
                for bag, event in events
            ],
        )  # fmt: skip
    alerts = [(bag, alert) for bag in evaluation.bags for alert in bag.alerts]
    if alerts:
        html += '<h3>Alerts</h3>' + cut_table(
            ('bag', 'camera', 'from', 'length', 'peak', '', 'why'),
            [
                (bag.name, alert.episode.camera,
                 number(alert.episode.start - bag.scored.facts.origin, '.2f', ' s'),
                 number(alert.episode.duration, '.2f', ' s'), number(alert.episode.peak, '.4g'),
                 Markup('<span class="bad">false</span>') if alert.is_false else 'in an event',
                 alert.episode.reason)
                for bag, alert in sorted(alerts, key=lambda pair: not pair[1].is_false)
            ],
        )  # fmt: skip
    return html


def _found(event: Event) -> str:
    if not event.frames:
        return 'no frame'
    if event.found:
        return 'yes'
    return Markup(f'<span class="bad">{"alert was on" if event.was_on else "missed"}</span>')


def worst_section(pictures: Sequence[Picture]) -> str:
    """Return the frames that are hardest to tell apart."""
    return ''.join(
        _gallery(title, why, pictures)
        for title, why in (
            ('In-distribution frames with the highest scores', FALSE_ALARM),
            ('Frames of events with the lowest scores', MISS),
        )
    )


def _gallery(title: str, why: str, pictures: Sequence[Picture]) -> str:
    thumbs = ''.join(
        f'<button class="thumb"><img data-picture="{k}" alt="{escape(caption(picture))}">'
        f'<span>{escape(caption(picture))}</span></button>'
        for k, picture in enumerate(pictures)
        if why in picture.why
    )
    return f'<h3>{escape(title)}</h3><div class="thumbs">{thumbs}</div>' if thumbs else ''
