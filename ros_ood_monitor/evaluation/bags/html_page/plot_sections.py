"""Sections in which the script draws: scores over time, other thresholds, distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import numpy as np

from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
from ros_ood_monitor.html_parts import Markup, table

__all__ = ['explorer_section', 'scores_section', 'time_section']

_KEY: Final = (
    '<p class="key dim"><span><i style="background:#0072B2"></i>raw_score{unit}</span>'
    '<span><i style="background:rgba(0,114,178,.55)"></i>label</span>'
    '<span><i style="background:rgba(230,159,0,.6)"></i>alert</span>'
    '<span><i style="background:rgba(213,94,0,.8)"></i>false alert</span>'
    '<span><i style="background:#009E73"></i>picture, click it</span></p>'
)


def time_section(evaluation: BagEvaluation, curves: Sequence[Mapping[str, Any]]) -> str:
    """Return scores over time, a plot for each camera."""
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


def explorer_section(data: Mapping[str, Any] | None) -> str:
    """Return the slider of another threshold, and what would come of it."""
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


def scores_section(data: Mapping[str, Any]) -> str:
    """Return how far the scores of the two kinds of frames are apart."""
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
