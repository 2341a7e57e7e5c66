"""Sections of the page: the densities, what they were chosen from, and how they were fitted."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
import math
from typing import Any

from ros_ood_monitor.html_parts import (
    Cells,
    Number,
    number,
    table,
)
from ros_ood_monitor.training.report.data import ReportData, TapReport
from ros_ood_monitor.training.report.page.markup import figure, grid

__all__ = ['candidates_section', 'features_section', 'training_section']


def candidates_section(data: ReportData) -> str:
    """Return what the detectors and taps were chosen from."""
    if not data.candidates:
        return ''
    first = data.candidates[0]
    best = next((row for row in data.candidates if row.taken), first)
    lead = (
        'No candidate is better than chance by its standard error, so the first one was kept.'
        if not any(row.auroc - 0.5 > row.error for row in data.candidates)
        else 'No candidate is better than the first one, so that one was taken.'
        if best is first
        else f'Taken: {best.density} from {best.taps[0]} on, the best of {len(data.candidates)}, '
        f'better than the first one by {best.gain:.3f} ± {best.standard_error:.3f} (standard '
        f'error); its own AUROC is known to ± {best.error:.3f}.'
        + (' That is within chance.' if best.gain < best.standard_error else '')
    )
    words = (
        '<p>AUROC of near pseudo-OOD (a pasted patch, a thin strip) against the frames that '
        'they were pasted into, for each detector on all taps and on the deeper ones from a tap '
        'on. No anomaly was looked at; one that nobody has seen may rank them otherwise. '
        f'{escape(lead)}</p>'
    )
    rows: dict[str, list[Any]] = {}
    for row in data.candidates:
        text = f'{row.auroc:.3f}'
        cell = Number(f'{text} taken') if row.taken else Number(text)
        rows.setdefault(row.density, []).append(cell)
    starts = [f'from {row.taps[0]} on' for row in data.candidates[: len(first.taps)]]
    shown = {'the first': first, 'taken': best} if best is not first else {'taken': best}
    html = words + table(('', *starts), [(name, *cells) for name, cells in rows.items()])
    html += '<p>By kind of pseudo-OOD; only the first two decide.</p>'
    html += table(
        ('', *first.auroc_by_kind),
        [
            (name, *(number(area) for area in row.auroc_by_kind.values()))
            for name, row in shown.items()
        ],
    )
    html += '<p>Each tap alone, near pseudo-OOD; told, and no candidate.</p>'
    return html + table(
        ('', *first.taps),
        [
            (name, *(number(area) for area in areas.values()))
            for name, areas in data.candidates_alone.items()
        ],
    )


def training_section(data: ReportData, figures: Mapping[str, bytes]) -> str:
    """Return how flows were trained, and when to stop."""
    curves = [tap for tap in data.taps if tap.has_curve]
    if not curves:
        return ''
    closed = [tap.name for tap in data.taps if not tap.has_curve]
    words = (
        '<p>More training makes a flow likelier on the frames it is fitted to, and past a point '
        'worse at telling strange pictures apart. The step was chosen on the held-out '
        'in-distribution nll alone; pseudo-OOD was only looked at.</p>'
    )
    head = (
        'tap', 'step taken', 'last look', 'nll at 0', 'nll taken', 'nll last', 'fit nll taken',
        'fit nll last', 'AUROC at 0', 'AUROC taken', 'AUROC last',
    )  # fmt: skip
    words += table(head, [_curve_row(tap) for tap in curves])
    if closed:
        words += f'<p class="dim">Closed form, nothing to train: {escape(", ".join(closed))}.</p>'
    return words + grid(figures, 'curve_')


def _curve_row(tap: TapReport) -> Cells:
    start, taken, last = tap.looks[0], tap.at(tap.step), tap.looks[-1]
    steps = [number(tap.step, 'd'), number(last.step, 'd')]
    nlls = (start.nll, taken.nll, last.nll, taken.nll_fit, last.nll_fit)
    nll = [number(value, '.2f') for value in nlls]
    return [tap.name, *steps, *nll, *(number(look.auroc) for look in (start, taken, last))]


def features_section(data: ReportData, figures: Mapping[str, bytes]) -> str:
    """Return how well each tap tells pseudo-OOD from held-out frames."""
    html = ''
    by_tap = {tap.name: tap.auroc_by_kind() for tap in data.taps}
    by_tap = {name: kinds for name, kinds in by_tap.items() if kinds}
    for row in data.calibrations:
        if row.raw_score_pseudo_ood:
            which = f' ({row.precision})' if len(data.calibrations) > 1 else ''
            by_tap[f'raw_score{which}'] = row.auroc_by_kind()
    if by_tap:
        kinds = list(dict.fromkeys(kind for row in by_tap.values() for kind in row))
        html += (
            '<p>AUROC of pseudo-OOD pictures against the validation frames that they are made '
            'from. They stand in for anomalies that nobody has seen, and set neither a threshold '
            'nor a step. A real anomaly may be harder.</p>'
        )
        rows = [
            [name, *(number(row.get(kind, math.nan)) for kind in kinds),
             number(sum(row.values()) / len(row))]
            for name, row in by_tap.items()
        ]  # fmt: skip
        html += table(('', *kinds, 'mean'), rows)
    html += figure(figures, 'pseudo_ood.png', 'The kinds of pseudo-OOD pictures.')
    return html + grid(figures, 'scores_')
