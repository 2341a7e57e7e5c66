"""The training report as one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
import math
from typing import Any, Final

from ros_ood_monitor.html_parts import (
    bullets,
    Cells,
    data_url,
    Markup,
    Number,
    number,
    page_head,
    pairs,
    sections,
    table,
)
from ros_ood_monitor.training.report.data import PrecisionRow, ReportData, TapReport

__all__ = ['render']

_PARTS: Final = ('fit', 'validation', 'calibration')
_MOST_ROWS: Final = 30


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
        ('data', 'Training data', _data_card(data, figures)),
        ('health', 'Input health', _health(data)),
        ('backbone', 'Backbone and taps', _backbone(data)),
        ('unmask', 'Labels and atypical frames', _unmask(data, figures)),
        ('detectors', 'Choice of the detector', _candidates(data)),
        ('training', 'Training and its pitfall', _training(data, figures)),
        ('features', 'Scores of each tap', _features(data, figures)),
        ('wild', 'Wild frames', _wild(data)),
        ('map', 'Map', _map(data, figures)),
        ('calibration', 'Calibration', _calibration(data, figures)),
        ('precisions', 'Precisions', _precisions(data)),
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


def flatten(values: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """
    Return nested settings with dotted names.

    Parameters
    ----------
    values : mapping
        Plain values and mappings of them.
    prefix : str
        What the names begin with.

    Returns
    -------
    dict of str to any
        One level deep.

    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f'{prefix}{key}.'))
        else:
            flat[f'{prefix}{key}'] = value
    return flat


def _figure(figures: Mapping[str, bytes], name: str, caption: str = '') -> str:
    if name not in figures:
        return ''
    source = data_url(figures[name], 'image/png')
    alt = escape(caption or name.removesuffix('.png').replace('_', ' '), quote=True)
    words = f'<figcaption>{escape(caption)}</figcaption>' if caption else ''
    return f'<figure><img alt="{alt}" src="{source}">{words}</figure>'


def _grid(figures: Mapping[str, bytes], prefix: str) -> str:
    inner = ''.join(_figure(figures, name) for name in figures if name.startswith(prefix))
    return f'<div class="grid">{inner}</div>' if inner else ''


def _data_card(data: ReportData, figures: Mapping[str, bytes]) -> str:
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
    return html + _figure(
        figures, 'contact_sheet.png',
        'Network inputs spread over the stream; the frame around each and its mark tell its part.',
    )  # fmt: skip


def _health(data: ReportData) -> str:
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


def _backbone(data: ReportData) -> str:
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


def _candidates(data: ReportData) -> str:
    if not data.candidates:
        return ''
    first = data.candidates[0]
    best = next((row for row in data.candidates if row.taken), first)
    lead = (
        'No candidate is better than the first one, so that one was taken.'
        if best is first
        else f'Taken: {best.density} from {best.taps[0]} on, better than the first one by '
        f'{best.gain:.3f} ± {best.standard_error:.3f} (standard error).'
        + (' That is within chance.' if best.gain < best.standard_error else '')
    )
    words = (
        '<p>AUROC of near pseudo-OOD (a pasted patch, a thin strip) against validation frames, '
        'for each detector on all taps and on the deeper ones from a tap on. No anomaly was '
        f'looked at; one that nobody has seen may rank them otherwise. {escape(lead)}</p>'
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


def _training(data: ReportData, figures: Mapping[str, bytes]) -> str:
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
    return words + _grid(figures, 'curve_')


def _curve_row(tap: TapReport) -> Cells:
    start, taken, last = tap.looks[0], tap.at(tap.step), tap.looks[-1]
    steps = [number(tap.step, 'd'), number(last.step, 'd')]
    nlls = (start.nll, taken.nll, last.nll, taken.nll_fit, last.nll_fit)
    nll = [number(value, '.2f') for value in nlls]
    return [tap.name, *steps, *nll, *(number(look.auroc) for look in (start, taken, last))]


def _features(data: ReportData, figures: Mapping[str, bytes]) -> str:
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
            '<p>AUROC of pseudo-OOD pictures against held-out frames: validation frames for each '
            'tap, calibration frames for raw_score. They are made from '
            'in-distribution frames, stand in for anomalies that nobody has seen, and set '
            'neither a threshold nor a step. A real anomaly may be harder.</p>'
        )
        rows = [
            [name, *(number(row.get(kind, math.nan)) for kind in kinds),
             number(sum(row.values()) / len(row))]
            for name, row in by_tap.items()
        ]  # fmt: skip
        html += table(('', *kinds, 'mean'), rows)
    html += _figure(figures, 'pseudo_ood.png', 'The kinds of pseudo-OOD pictures.')
    return html + _grid(figures, 'scores_')


def _unmask(data: ReportData, figures: Mapping[str, bytes]) -> str:
    if not data.unmask_facts:
        return ''
    words = (
        '<p>A classifier of the folders was trained on the fitted frames, then brought back to '
        'the loss that it has with some weights dropped at random (Unleashing Mask), so that it '
        'forgets what it knew by heart. AUROC of pseudo-OOD against held-out frames by scores of '
        'that classifier, before and after; the detector of this bundle is judged below.</p>'
    )
    kinds = list(data.unmask_aurocs[0].before) if data.unmask_aurocs else []
    rows = [
        (
            row.score,
            *(Number(f'{row.before[kind]:.3f} \u2192 {row.after[kind]:.3f}') for kind in kinds),
        )
        for row in data.unmask_aurocs
    ]
    html = words + table(('score', *kinds), rows) + pairs(flatten(data.unmask_facts))
    if not data.atypical:
        return html + (
            '<p>No fitted frame stands out: with weights dropped, each still has its own class '
            'with half of the probability or more.</p>'
        )
    names = [
        (one.place, one.label, number(one.masked), number(one.plain)) for one in data.atypical
    ]
    html += _figure(
        figures, 'atypical.png',
        'The most atypical fitted frames, 24 at most: cross-entropy in nats with weights dropped '
        '(and with all of them), over log 2 = 0.69, which is less than half of the probability '
        'for the own class. Look for wrong folders, rare views and broken pictures.',
    )  # fmt: skip
    return html + table(('file', 'class', 'loss with weights dropped', 'with all'), names)


def _wild(data: ReportData) -> str:
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


def _map(data: ReportData, figures: Mapping[str, bytes]) -> str:
    if not data.map_facts:
        return ''
    return pairs(flatten(data.map_facts)) + _figure(
        figures, 'maps.png',
        'Held-out frames, and defects pasted into them, with what is over the threshold of the '
        'map coloured and outlined; one colour is one value everywhere.',
    )  # fmt: skip


def _calibration(data: ReportData, figures: Mapping[str, bytes]) -> str:
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
    return html + _figure(figures, 'calibration.png', f'Scores and thresholds of {names[0]}.')


def _precisions(data: ReportData) -> str:
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
