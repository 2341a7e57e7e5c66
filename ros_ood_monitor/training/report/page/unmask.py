"""Section of the page: what the frames' labels changed."""

from __future__ import annotations

from collections.abc import Mapping

from ros_ood_monitor.html_parts import (
    Number,
    number,
    pairs,
    table,
)
from ros_ood_monitor.training.report.data import ReportData, UnmaskRow
from ros_ood_monitor.training.report.page.markup import figure, flatten

__all__ = ['unmask_section']


def _detector(row: UnmaskRow | None) -> str:
    """Return what runs on the robot, with the pretrained backbone and with this one."""
    if row is None:
        return '<p>The detector of this bundle was not compared with one on other weights.</p>'
    words = (
        '<p>The detector of this bundle (without a share of the map), fitted to the pretrained '
        'backbone and to this one, by the same frames; near: patch and scar together:</p>'
    )
    cells = [
        Number(f'{area:.3f} \u2192 {row.after[kind]:.3f}') for kind, area in row.before.items()
    ]
    return words + table(('', *row.before), [(row.score, *cells)])


def unmask_section(data: ReportData, figures: Mapping[str, bytes]) -> str:
    """Return the classifier of the frames' labels, and what looks atypical."""
    if not data.unmask_facts:
        return ''
    words = (
        '<p>A classifier of the folders was trained on the fitted frames, then brought back to '
        'the loss that it has with some weights dropped at random (Unleashing Mask), so that it '
        'forgets what it knew by heart. AUROC of pseudo-OOD against held-out frames by scores of '
        'that classifier, before and after:</p>'
    )
    kinds = list(data.unmask_aurocs[0].before) if data.unmask_aurocs else []
    rows = [
        (
            row.score,
            *(Number(f'{row.before[kind]:.3f} \u2192 {row.after[kind]:.3f}') for kind in kinds),
        )
        for row in data.unmask_aurocs
    ]
    html = words + table(('score', *kinds), rows) + _detector(data.unmask_detector)
    html += pairs(flatten(data.unmask_facts))
    if not data.atypical:
        return html + (
            '<p>No fitted frame stands out: with weights dropped, each still has its own class '
            'with half of the probability or more.</p>'
        )
    names = [
        (one.place, one.label, number(one.masked), number(one.plain)) for one in data.atypical
    ]
    html += figure(
        figures, 'atypical.png',
        'The most atypical fitted frames, 24 at most: cross-entropy in nats with weights dropped '
        '(and with all of them), over log 2 = 0.69, which is less than half of the probability '
        'for the own class. Look for wrong folders, rare views and broken pictures.',
    )  # fmt: skip
    return html + table(('file', 'class', 'loss with weights dropped', 'with all'), names)
