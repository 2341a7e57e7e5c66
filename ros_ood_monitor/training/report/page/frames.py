"""Sections of the page: the frames, what is a usable one, and the backbone that sees them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Final

from ros_ood_monitor.html_parts import (
    number,
    pairs,
    table,
)
from ros_ood_monitor.training.report.data import ReportData
from ros_ood_monitor.training.report.page.markup import figure, flatten

__all__ = ['backbone_section', 'data_section', 'health_section']

_PARTS: Final = ('fit', 'validation', 'calibration')
_MOST_ROWS: Final = 30


def data_section(data: ReportData, figures: Mapping[str, bytes]) -> str:
    """Return where the frames come from, and which part each fell into."""
    html = ''
    if data.sequences:
        total = [sum(getattr(row, part) for row in data.sequences) for part in _PARTS]
        rows = [(row.name, *(getattr(row, part) for part in _PARTS)) for row in data.sequences]
        shown = rows if len(rows) <= _MOST_ROWS else rows[:_MOST_ROWS]
        lines = [(name, *(number(n, 'd') for n in counts)) for name, *counts in shown]
        if len(rows) > len(shown):
            rest = [sum(row[k] for row in rows[_MOST_ROWS:]) for k in (1, 2, 3)]
            label = f'{len(rows) - len(shown)} more'
            lines.append((label, *(number(n, 'd') for n in rest)))
        lines.append(('all', *(number(n, 'd') for n in total)))
        html += table(('sequence', *_PARTS), lines)
    facts = {
        'held out by': data.split,
        'different pictures': data.distinct or '',
        'also in an earlier sequence': data.shared or '',
        'left out as near-duplicates': data.duplicates or '',
        'skipped, did not decode': len(data.skipped) or '',
        'files missing, damaged or out of order': len(data.missing) or '',
        'digest of network inputs': data.data_sha256,
    }
    html += pairs({key: value for key, value in facts.items() if value != ''})
    html += ''.join(
        f'<details><summary>{title}</summary><ul>'
        + ''.join(f'<li><code>{escape(name)}</code></li>' for name in names)
        + '</ul></details>'
        for title, names in (
            ('Skipped frames', data.skipped),
            ('Files missing, damaged or out of order', data.missing),
        )
        if names
    )
    return html + figure(
        figures, 'contact_sheet.png',
        'Network inputs spread over the stream; the frame around each and its mark tell its part.',
    )  # fmt: skip


def health_section(data: ReportData) -> str:
    """Return what a node checks before it judges."""
    if not data.health:
        return ''
    rows = [
        (row.check, *(number(x, '.4g') for x in (row.least, row.median, row.most)), row.passes)
        for row in data.health
    ]
    return (
        '<p class="dim">What the training frames have (from one in a thousand to 999 in a '
        'thousand), and what a frame must have to pass.</p>'
        + table(('check', 'least', 'median', 'most', 'passes'), rows)
    )


def backbone_section(data: ReportData) -> str:
    """Return the backbone and its taps."""
    html = pairs(flatten(data.backbone))
    if data.taps:
        head = ('tap', 'channels', 'px a cell', 'normalisation', 'density')
        html += table(
            head,
            [
                (tap.name, number(tap.channels, 'd'), number(tap.reduction, 'd'),
                 tap.normalization, tap.density)
                for tap in data.taps
            ],
        )  # fmt: skip
    return html
