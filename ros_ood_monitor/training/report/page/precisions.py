"""Sections of the page: thresholds of every precision, and what each costs against fp32."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
import math

from ros_ood_monitor.html_parts import (
    Markup,
    Number,
    number,
    table,
)
from ros_ood_monitor.training.report.data import PrecisionRow, ReportData
from ros_ood_monitor.training.report.page.markup import figure

__all__ = ['calibration_section', 'precisions_section']


def calibration_section(data: ReportData, figures: Mapping[str, bytes]) -> str:
    """Return scores and thresholds."""
    rows = data.calibrations
    if not rows:
        return ''
    facts = [
        ('trigger', [number(row.trigger, '.4g') for row in rows]),
        ('release', [number(row.release, '.4g') for row in rows]),
        ('share of frames it was set for (alpha)', [number(row.alpha, '.3%') for row in rows]),
        ('held-out frames over the trigger', [number(row.over_trigger(), '.3%') for row in rows]),
        ('frames', [number(row.raw_score.size, 'd') for row in rows]),
    ]
    by_kind = [row.over_trigger_by_kind() for row in rows]
    facts += [
        (
            f'pseudo-OOD over the trigger: {kind}',
            [number(kinds[kind], '.1%') for kinds in by_kind],
        )
        for kind in by_kind[0]
    ]
    pictures = {scores.size for row in rows for scores in row.raw_score_pseudo_ood.values()}
    if pictures:
        facts.append(
            ('pseudo-OOD pictures of each kind', [number(max(pictures), 'd')] * len(rows))
        )
    names = [row.precision for row in rows]
    html = table(('', *names), [(name, *cells) for name, cells in facts])
    if len(rows) > 1:
        html += f'<p>A node takes {escape(names[0])} unless told otherwise.</p>'
    return html + figure(figures, 'calibration.png', f'Scores and thresholds of {names[0]}.')


def precisions_section(data: ReportData) -> str:
    """Return what each precision costs."""
    if not data.precisions:
        return ''
    head = (
        'precision', 'MB', 'error mean', 'error p99', 'error max', 'over the point', 'change',
        'verdict',
    )  # fmt: skip
    rows = [
        (row.precision, number(row.size_bytes / 1e6, '.2f'),
         *(number(e) for e in (row.error_mean, row.error_p99, row.error_max)),
         number(row.share_over, '.2%'), number(row.share_change, '+.2%'),
         _verdict(row.accepted, row.reason, row.word))
        for row in data.precisions
    ]  # fmt: skip
    words = (
        'Errors of raw_score in deviations of held-out frames; each precision after its own '
        f'calibration. {data.judged_on}'
    )
    kinds = list(data.precisions[0].auroc_by_kind)
    aurocs = (
        ''
        if not kinds
        else '<p>AUROC by kind of pseudo-OOD, and its change.</p>'
        + table(
            ('precision', *kinds),
            [
                (row.precision, *(_change(row, data.precisions[0], kind) for kind in kinds))
                for row in data.precisions
            ],
        )
    )
    return table(head, rows) + aurocs + f'<p class="dim">{escape(words.strip())}</p>'


def _change(row: PrecisionRow, reference: PrecisionRow, kind: str) -> Number:
    area = row.auroc_by_kind.get(kind, math.nan)
    shown = number(area, '.4f')
    if row is reference or math.isnan(area):
        return shown
    return Number(f'{shown} ({area - reference.auroc_by_kind[kind]:+.4f})')


def _verdict(accepted: bool, reason: str, word: str) -> Markup:
    word = word or ('accepted' if accepted else 'refused')
    if word not in ('accepted', 'ok'):
        word = f'<span class="bad">{escape(word)}</span>'
    return Markup(f'{word}: {escape(reason)}' if reason else word)
