"""Section of the page: what wild frames taught."""

from __future__ import annotations

from ros_ood_monitor.html_parts import (
    Number,
    number,
    pairs,
    table,
)
from ros_ood_monitor.training.report.data import ReportData

__all__ = ['wild_section']


def wild_section(data: ReportData) -> str:
    """Return what a head learnt from wild frames."""
    if not data.wild_rows:
        return ''
    words = (
        '<p>A linear head was taught by frames of which nothing is known (WOODS), and is compared '
        'with the detector that never saw them: shares over a boundary that validation frames set '
        'at alpha, of calibration frames and of held-out wild frames, and AUROC of pseudo-OOD '
        'against calibration frames. A wild frame that is flagged need not be strange: another '
        'camera, light or file format is found as well.</p>'
    )
    kinds = list(data.wild_rows[0].auroc_by_kind)
    head = ('', 'calibration frames over it', 'wild frames over it', *kinds)
    rows = [
        (
            row.density,
            _share(row.known_over, row.known),
            _share(row.wild_over, row.wild),
            *(number(row.auroc_by_kind[kind]) for kind in kinds),
        )
        for row in data.wild_rows
    ]
    return words + table(head, rows) + pairs(data.wild_facts)


def _share(over: int, count: int) -> Number:
    return Number(f'{over} of {count} ({over / count:.1%})')
