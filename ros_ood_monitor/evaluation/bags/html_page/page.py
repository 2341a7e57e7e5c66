"""The markup of the page, and the data that its script draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
import json
import math
from typing import Any, Final

import numpy as np

from ros_ood_monitor.evaluation.bags import report
from ros_ood_monitor.evaluation.bags.compare import Comparison
from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
from ros_ood_monitor.evaluation.bags.events import Event
from ros_ood_monitor.evaluation.bags.html_page.curves import histogram, operating_curves, timelines
from ros_ood_monitor.evaluation.bags.html_page.explorer import explorer_data
from ros_ood_monitor.evaluation.bags.html_page.pictures import (
    ALERT,
    FALSE_ALARM,
    FALSE_ALERT,
    MISS,
    MISSED,
    Picture,
)
from ros_ood_monitor.evaluation.bags.html_page.summary import cards, failed_bags, verdict_box
from ros_ood_monitor.evaluation.gate import GateOutcome
from ros_ood_monitor.evaluation.machine import context
from ros_ood_monitor.html_parts import (
    bullets,
    data_url,
    Markup,
    Number,
    number,
    page_head,
    pairs,
    sections,
    STYLE,
    table,
)

__all__ = ['render']

_MOST_ROWS: Final = 60
# nothing from outside is loaded, whatever a name or a library says
_POLICY: Final = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
)
_KEY: Final = (
    '<p class="key dim"><i style="background:#0072B2"></i>raw_score{unit}'
    '<i style="background:rgba(0,114,178,.55)"></i>label'
    '<i style="background:rgba(230,159,0,.6)"></i>alert'
    '<i style="background:rgba(213,94,0,.8)"></i>false alert'
    '<i style="background:#009E73"></i>picture, click it</p>'
)


def render(
    evaluation: BagEvaluation,
    comparisons: Sequence[Comparison],
    *,
    pictures: Sequence[Picture],
    problems: Sequence[str],
    plotly: str,
    command: str,
    card: Sequence[str],
    gate: GateOutcome | None,
    beside: Mapping[str, str],
) -> str:
    """
    Return the page.

    Parameters
    ----------
    evaluation : BagEvaluation
        What `evaluate_bags` found.
    comparisons : sequence of Comparison
        Other bundles beside it.
    pictures : sequence of Picture
        Frames to show, as far as they could be read.
    problems : sequence of str
        What could not be read.
    plotly : str
        The library that draws, as a script.
    command, card, gate, beside
        As for `write_html`.

    Returns
    -------
    str
        HTML without a reference to anything outside of it.

    """
    shown = [picture for picture in pictures if picture.jpeg]
    curves = timelines(evaluation)
    data = _data(evaluation, curves, shown)
    parts = [
        ('failed', 'Bags that could not be evaluated', failed_bags(evaluation, comparisons)),
        ('time', 'Score over time', _over_time(evaluation, curves)),
        ('alerts', 'Alerts and events', _alerts(evaluation, shown)),
        ('explorer', 'Another threshold', _explorer(data['explorer'])),
        ('scores', 'How far apart the frames are', _scores(data)),
        ('worst', 'Worst false alarms and misses', _worst(shown)),
        ('figures', 'Figures', _figures(evaluation)),
        ('against', 'Bundles side by side', _against(comparisons)),
        ('health', 'Health and timing', _health(evaluation)),
        ('bundle', 'Bundle', _bundle(evaluation, card)),
        ('command', 'Command and versions', _command(command, beside)),
    ]
    links, bodies = sections(parts)
    name = evaluation.bundle.manifest.name
    doubts = [*problems, *report.notes(evaluation, comparisons)]
    return (
        f'{page_head(f"{name}: evaluation", STYLE + _asset("page.css"), _POLICY)}<body>'
        f'<header><h1>Evaluation of {escape(name)}</h1>'
        f'<p class="dim">bundle digest <code>{escape(evaluation.bundle.digest)}</code></p>'
        f'{verdict_box(evaluation, comparisons, gate)}{cards(evaluation)}'
        '<noscript><p class="warn">Curves and pictures need JavaScript, which is off.</p>'
        f'</noscript><nav>{links}</nav></header>{bodies}'
        f'<section id="notes"><h2>Notes</h2>{bullets(doubts)}</section>{_VIEWER}'
        f'<script type="application/json" id="data">{_json(data)}</script>'
        f'<script>{plotly}</script><script>{_asset("page.js")}</script></body></html>\n'
    )


_VIEWER: Final = (
    '<dialog id="viewer"><img id="view-image" alt=""><p id="view-text"></p>'
    '<button id="view-previous">Previous (←)</button><button id="view-next">Next (→)</button>'
    '<button id="view-heat">Heat-map (h)</button><button id="view-close">Close (Esc)</button>'
    '</dialog>'
)


def _asset(name: str) -> str:
    return (files(__package__ or '') / name).read_text(encoding='utf-8')


def _json(data: Any) -> str:
    """Return JSON that no name in it can end: it has no tag."""
    text = json.dumps(data, allow_nan=False, separators=(',', ':'))
    return text.replace('&', '\\u0026').replace('<', '\\u003c').replace('>', '\\u003e')


def _data(
    evaluation: BagEvaluation, curves: list[dict[str, Any]], pictures: Sequence[Picture]
) -> dict[str, Any]:
    places = {(one['bag'], one['camera']): k for k, one in enumerate(curves)}
    origins = {one['bag']: one['origin'] for one in curves}
    return {
        'unit': evaluation.bundle.manifest.unit,
        'threshold': evaluation.threshold,
        'timelines': curves,
        'histogram': histogram(evaluation),
        'curves': operating_curves(evaluation),
        'explorer': explorer_data(evaluation),
        'pictures': [
            {
                'jpeg': data_url(picture.jpeg, 'image/jpeg'),
                'heat': data_url(picture.heat, 'image/jpeg') if picture.heat else '',
                'text': _caption(picture),
                'stream': places.get((picture.bag.name, picture.camera), -1),
                'time': picture.stamp - origins.get(picture.bag.name, 0.0),
                'raw_score': picture.raw_score,
            }
            for picture in pictures
        ],
    }


def _caption(picture: Picture) -> str:
    scored = picture.bag.scored
    after = picture.stamp - scored.facts.origin
    several = len(scored.facts.cameras) > 1
    camera = f', {picture.camera}' if several else ''
    # as in the overlay's bar
    peak = '' if picture.map_peak is None else f'map {picture.map_peak:.2f} of 1; '
    return (
        f'{picture.bag.name}{camera}, {after:.2f} s: raw_score {picture.raw_score:.5g}, '
        f'{"over" if picture.raw_score > scored.facts.threshold else "not over"} the threshold; '
        f'{peak}{", ".join(picture.why)}'
    )


def _over_time(evaluation: BagEvaluation, curves: Sequence[Mapping[str, Any]]) -> str:
    unit = evaluation.bundle.manifest.unit
    html = _KEY.replace('{unit}', f' [{escape(unit)}]' if unit else '')
    for k, one in enumerate(curves):
        left_out = (
            f' <span class="dim">({one["left_out"]} labels and alerts are left out)</span>'
            if one['left_out']
            else ''
        )
        html += (
            f'<h3>{escape(one["bag"])}: {escape(one["camera"] or "camera")}{left_out}</h3>'
            f'<div class="plot" id="time-{k}"></div>'
        )
    total = sum(len(np.unique(bag.scored.camera)) for bag in evaluation.bags)
    words = [
        'Of long recordings every stretch shows its lowest and its highest frame; the exact '
        'scores are in the Parquet file.'
    ]
    if total > len(curves):
        words.append(f'Shown are the first {len(curves)} of {total} cameras of all bags.')
    return html + f'<p class="dim">{" ".join(words)}</p>'


def _alerts(evaluation: BagEvaluation, pictures: Sequence[Picture]) -> str:
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
        html += '<h3>Events</h3>' + _cut(
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
        html += '<h3>Alerts</h3>' + _cut(
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


def _cut(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    html = table(head, rows[:_MOST_ROWS])
    if len(rows) > _MOST_ROWS:
        html += f'<p class="dim">{len(rows) - _MOST_ROWS} more are in the JSON file.</p>'
    return html


def _gallery(title: str, why: str, pictures: Sequence[Picture]) -> str:
    thumbs = ''.join(
        f'<button class="thumb"><img data-picture="{k}" alt="{escape(_caption(picture))}">'
        f'<span>{escape(_caption(picture))}</span></button>'
        for k, picture in enumerate(pictures)
        if why in picture.why
    )
    return f'<h3>{escape(title)}</h3><div class="thumbs">{thumbs}</div>' if thumbs else ''


def _worst(pictures: Sequence[Picture]) -> str:
    return ''.join(
        _gallery(title, why, pictures)
        for title, why in (
            ('In-distribution frames with the highest scores', FALSE_ALARM),
            ('Frames of events with the lowest scores', MISS),
        )
    )


_EXPLORED: Final = (
    ('threshold', 'threshold'),
    ('false', 'false alerts'),
    ('rate', 'false alerts an hour'),
    ('upper', 'at most, with 95 % confidence (by counts)'),
    ('found', 'events found'),
    ('delay', 'median time to alert'),
    ('id', 'in-distribution frames over it'),
    ('ood', 'OOD frames over it'),
)


def _explorer(data: Mapping[str, Any] | None) -> str:
    if data is None:
        return '<p>There are too many frames to try other thresholds in a page.</p>'
    rule = data['rule']
    words = [
        'Drag the dashed line of any plot, or the slider (arrow keys work): the alert rule runs '
        'again over every frame.',
        f'{rule["trigger_frames"]} frames in a row over the threshold raise an alert, '
        f'{rule["release_frames"]} under {rule["release"]:.4g} (or the threshold, where that is '
        'lower) end it.',
    ]
    if not data['is_own']:
        words.append(
            f'This is not the alert logic of the bundle, which is {data["logic"]}: figures '
            'differ from those above.'
        )
    if data['floor'] is not None:
        words.append(f'The page holds what matters over a threshold of {data["floor"]:.4g}.')
    if data['bags'] < data['of_bags']:
        words.append(
            f'It holds {data["bags"]} of {data["of_bags"]} bags; the others are too long.'
        )
    words.append('What is best on these bags is too good for others: check it on other ones.')
    rows = [
        (name, Markup(f'<span id="set-{key}"></span>'), Markup(f'<b id="now-{key}"></b>'))
        for key, name in _EXPLORED
    ]
    return (
        f'<p>{escape(" ".join(words))}</p><div class="slider">'
        '<label for="threshold-slider">Threshold</label>'
        '<input type="range" id="threshold-slider" min="0" step="1">'
        '<input type="number" id="threshold-value" step="any" aria-label="Threshold as a number">'
        '<button id="threshold-back">As evaluated</button></div>'
        f'{table(("", "as evaluated", "here"), rows)}<div class="plot" id="trade-off"></div>'
    )


def _scores(data: Mapping[str, Any]) -> str:
    html = (
        '<p class="dim">What lies beyond the picture is in its outermost bars.</p>'
        '<div class="plot" id="histogram"></div>'
    )
    if data['curves']:
        html += (
            '<div class="grid"><div><h3>ROC</h3><div class="plot" id="roc"></div></div>'
            '<div><h3>Precision and recall</h3><div class="plot" id="precision"></div></div></div>'
        )
    return html


def _figures(evaluation: BagEvaluation) -> str:
    return ''.join(_plain(rows) for rows in report.tables(evaluation))


def _against(comparisons: Sequence[Comparison]) -> str:
    return ''.join(
        f'<h3>{escape(report.title(one))}</h3>{_plain(report.difference_rows(one))}'
        for one in comparisons
    )


def _plain(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    return table(head, [(name, *map(Number, cells)) for name, *cells in body])


def _health(evaluation: BagEvaluation) -> str:
    rows = []
    for bag in evaluation.bags:
        scored, facts = bag.scored, bag.scored.facts
        p50, p99 = np.quantile(scored.latency_ms, [0.5, 0.99]).tolist()
        rate = len(scored) / facts.wall if facts.wall > 0.0 else math.nan
        failing = ', '.join(f'{name} {count}' for name, count in facts.health.items())
        rows.append(
            (bag.name, number(len(scored), 'd'), number(facts.skipped, 'd'),
             number(p50, '.2f'), number(p99, '.2f'),
             number(float(scored.latency_ms.max()), '.2f'), number(rate, '.1f'),
             failing or 'nothing')
        )  # fmt: skip
    words = (
        'Processing time of a frame inside the monitor, in ms; frames/s with reading and '
        'decoding, here and not on the robot. Last: frames that failed a check of input health.'
    )
    head = ('bag', 'frames', 'not decoded', 'p50', 'p99', 'longest', 'frames/s', 'failed checks')
    return f'<p class="dim">{words}</p>' + _cut(head, rows)


def _bundle(evaluation: BagEvaluation, card: Sequence[str]) -> str:
    manifest, point = evaluation.bundle.manifest, evaluation.calibration.operating_point
    facts = {
        'name': manifest.name,
        'digest': evaluation.bundle.digest,
        'ran on': ' '.join(evaluation.engine[key] for key in ('engine', 'version', 'precision')),
        'input': f'{manifest.input_width}x{manifest.input_height}',
        'unit of raw_score': manifest.unit,
        'threshold': f'{evaluation.threshold:.6g}',
        'alert logic': point.logic,
        'held-out frames it was calibrated with': evaluation.calibration.raw_score.size,
        'rate of false alerts': 'established' if point.rate_established else 'not established',
    }
    lines = '\n'.join(card)
    return pairs(facts) + (f'<pre>{escape(lines)}</pre>' if card else '')


def _command(command: str, beside: Mapping[str, str]) -> str:
    machine = context()
    versions = machine.pop('versions')
    facts = {**{key.replace('_', ' '): value for key, value in machine.items()}, **versions}
    html = f'<pre id="command-line">{escape(command)}</pre>' if command else ''
    if beside:
        html += _named(beside.items())
    return html + pairs(facts)


def _named(rows: Iterable[tuple[str, str]]) -> str:
    return table(('file beside this page', ''), rows)
