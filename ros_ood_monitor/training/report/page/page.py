"""The training report as one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
import math

from ros_ood_monitor.html_parts import (
    bullets,
    Number,
    number,
    page_head,
    pairs,
    sections,
    table,
)
from ros_ood_monitor.training.report.data import ReportData
from ros_ood_monitor.training.report.page.frames import (
    backbone_section,
    data_section,
    health_section,
)
from ros_ood_monitor.training.report.page.markup import figure, flatten
from ros_ood_monitor.training.report.page.precisions import calibration_section, precisions_section
from ros_ood_monitor.training.report.page.taps import (
    candidates_section,
    features_section,
    training_section,
)
from ros_ood_monitor.training.report.page.unmask import unmask_section
from ros_ood_monitor.training.report.page.wild import wild_section

__all__ = ['render']


def render(data: ReportData, figures: Mapping[str, bytes]) -> str:
    """
    Return the page.

    Parameters
    ----------
    data : ReportData
        What it shows; a part without data has no section.
    figures : mapping of str to bytes
        PNG by file name, written into the page.

    Returns
    -------
    str
        HTML without a reference to anything outside of it.

    """
    parts = [
        ('data', 'Training data', data_section(data, figures)),
        ('health', 'Input health', health_section(data)),
        ('backbone', 'Backbone and taps', backbone_section(data)),
        ('unmask', 'Labels and atypical frames', unmask_section(data, figures)),
        ('detectors', 'Choice of the detector', candidates_section(data)),
        ('training', 'Training and its pitfall', training_section(data, figures)),
        ('features', 'Scores of each tap', features_section(data, figures)),
        ('wild', 'Wild frames', wild_section(data)),
        ('map', 'Map', _map(data, figures)),
        ('calibration', 'Calibration', calibration_section(data, figures)),
        ('precisions', 'Precisions', precisions_section(data)),
        ('timings', 'Timings', _timings(data)),
        ('settings', 'Settings', pairs(flatten(data.settings))),
        ('versions', 'Versions and licences', _versions(data)),
    ]
    links, bodies = sections(parts)
    return (
        f'{page_head(f"{data.name}: training report")}<body>'
        f'<header><h1>Training report: {escape(data.name)}</h1>'
        f'<p class="dim">bundle digest <code>{escape(data.digest)}</code></p>'
        f'<p class="verdict">{escape(data.sentence())}</p>'
        + (f'<div class="warn">Warnings:{bullets(data.warnings)}</div>' if data.warnings else '')
        + (f'<p>What it does not promise:</p>{bullets(data.limits)}' if data.limits else '')
        + f'<nav>{links}</nav></header>{bodies}</body></html>\n'
    )


def _map(data: ReportData, figures: Mapping[str, bytes]) -> str:
    if not data.map_facts:
        return ''
    return pairs(flatten(data.map_facts)) + figure(
        figures, 'maps.png',
        'Held-out frames, and defects pasted into them, with what is over the threshold of the '
        'map coloured and outlined; one colour is one value everywhere.',
    )  # fmt: skip


def _timings(data: ReportData) -> str:
    if not data.timings:
        return ''
    rows = [
        (row.name, number(row.seconds, '.2f'), *_rate(row.frames, row.seconds),
         *_rate(row.decoded, row.seconds))
        for row in data.timings
    ]  # fmt: skip
    return table(('', 's', 'frames', 'frames/s', 'decoded', 'decoded/s'), rows)


def _rate(count: int, seconds: float) -> tuple[Number, Number]:
    rate = count / seconds if count and seconds > 0 else math.nan
    return number(count or math.nan, '.0f'), number(rate, '.1f')


def _versions(data: ReportData) -> str:
    licences = {f'licence of {key}': value for key, value in data.licences.items()}
    return pairs({**data.versions, **licences})
