"""The pictures of a training report, each as the bytes of a PNG."""

from __future__ import annotations

from ros_ood_monitor.training.report.data import ReportData, TapReport
from ros_ood_monitor.training.report.figures.curves import draw_curve, lowest_auroc
from ros_ood_monitor.training.report.figures.pictures import (
    draw_atypical,
    draw_contact_sheet,
    draw_examples,
)
from ros_ood_monitor.training.report.figures.scores import draw_calibration, draw_scores

__all__ = ['draw_all']


def draw_all(data: ReportData) -> dict[str, bytes]:
    """
    Draw what there is to draw.

    Parameters
    ----------
    data : ReportData
        What the report shows.

    Returns
    -------
    dict of str to bytes
        PNG by file name: ``contact_sheet.png``, ``pseudo_ood.png``, ``curve_<k>_<tap>.png``,
        ``scores_<k>_<tap>.png``, ``atypical.png``, ``maps.png``, ``calibration.png``; k counts the
        taps from 0.

    """
    drawn = {}
    if data.sheet:
        drawn['contact_sheet.png'] = draw_contact_sheet(data.sheet)
    if data.examples:
        drawn['pseudo_ood.png'] = draw_examples(data.examples)
    lowest = lowest_auroc(data.taps)
    for k, tap in enumerate(data.taps):
        if tap.has_curve:
            drawn[f'curve_{figure_name(k, tap)}.png'] = draw_curve(tap, lowest)
    for k, tap in enumerate(data.taps):
        if tap.held_out.size:
            drawn[f'scores_{figure_name(k, tap)}.png'] = draw_scores(tap)
    if data.atypical:
        drawn['atypical.png'] = draw_atypical(data.atypical)
    if data.map_examples:
        drawn['maps.png'] = draw_examples(data.map_examples)
    if data.calibrations:
        drawn['calibration.png'] = draw_calibration(data.calibrations[0], data.unit)
    return drawn


def figure_name(number: int, tap: TapReport) -> str:
    """Return the part of a file's name that stands for a tap; safe on every file system."""
    safe = ''.join(c if c.isascii() and c.isalnum() else '_' for c in tap.name)
    return f'{number}_{safe}'
