"""The training report as one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
import math
from typing import Any, Final

from ros_ood_monitor.training.report.data import PrecisionRow, ReportData, TapReport

__all__ = ['render']

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1c2430;--dim:#5b6675;--line:#d7dce3;--paper:#fff;
--tint:#f4f6f9}
@media(prefers-color-scheme:dark){
:root{--ink:#e4e8ee;--dim:#9aa6b5;--line:#39424e;--paper:#14181d;
--tint:#1d2329}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:66rem;padding:1.2rem;font:16px/1.5 system-ui,sans-serif;
color:var(--ink);background:var(--paper)}
h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.2rem;margin:2.2rem 0 .5rem;
border-bottom:1px solid var(--line)}
p{max-width:46rem}.dim,figcaption{color:var(--dim);font-size:.9rem}
code{overflow-wrap:anywhere;font-size:.88em}
.verdict{font-size:1.08rem;border-left:4px solid #0072B2;
padding:.5rem .9rem;background:var(--tint)}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;margin:.5rem 0}
th,td{padding:.25rem .7rem .25rem 0;text-align:left;border-bottom:1px solid var(--line);
vertical-align:top}
td:last-child:not(.n){overflow-wrap:anywhere}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.bad{color:#c0392b;font-weight:600}
.warn{border-left:4px solid #E69F00;padding:.3rem .9rem;background:var(--tint)}
figure{margin:.5rem 0}img{max-width:100%;height:auto;background:#fff;border-radius:4px}
.grid{display:grid;gap:.8rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr))}
nav a{margin-right:.9rem;color:inherit}
@media print{nav{display:none}body{max-width:none;padding:0;font-size:11pt}
figure,tr{break-inside:avoid}h2{break-after:avoid}
.grid{grid-template-columns:1fr 1fr}.wide{overflow:visible}}
"""

_PARTS: Final = ('fit', 'validation', 'calibration')
_MOST_ROWS: Final = 30
_Cells = Sequence[Any]


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
    sections = [
        ('data', 'Training data', _data_card(data, figures)),
        ('health', 'Input health', _health(data)),
        ('backbone', 'Backbone and taps', _backbone(data)),
        ('detectors', 'Choice of the detector', _candidates(data)),
        ('training', 'Training and its pitfall', _training(data, figures)),
        ('features', 'Scores of each tap', _features(data, figures)),
        ('wild', 'Wild frames', _wild(data)),
        ('map', 'Map', _map(data, figures)),
        ('calibration', 'Calibration', _calibration(data, figures)),
        ('precisions', 'Precisions', _precisions(data)),
        ('timings', 'Timings', _timings(data)),
        ('settings', 'Settings', _pairs(flatten(data.settings))),
        ('versions', 'Versions and licences', _versions(data)),
    ]
    shown = [(anchor, title, body) for anchor, title, body in sections if body]
    links = ''.join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title, _ in shown)
    bodies = ''.join(
        f'<section id="{anchor}"><h2>{escape(title)}</h2>{body}</section>'
        for anchor, title, body in shown
    )
    limits, warnings = (
        ''.join(f'<li>{escape(line)}</li>' for line in lines)
        for lines in (data.limits, data.warnings)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{escape(data.name)}: training report</title><style>{_STYLE}</style></head><body>'
        f'<header><h1>Training report: {escape(data.name)}</h1>'
        f'<p class="dim">bundle digest <code>{escape(data.digest)}</code></p>'
        f'<p class="verdict">{escape(data.sentence())}</p>'
        + (f'<div class="warn">Warnings:<ul>{warnings}</ul></div>' if warnings else '')
        + (f'<p>What it does not promise:</p><ul>{limits}</ul>' if limits else '')
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


def _table(head: Sequence[str], rows: Iterable[_Cells]) -> str:
    """Return a table; columns of `_Number` stand to the right, an empty head is left out."""
    body = [list(row) for row in rows]
    right = [
        all(isinstance(cell, _Number) for cell in column) for column in zip(*body, strict=True)
    ]
    lines = ''.join(_line(row, right, 'td') for row in body)
    top = f'<thead>{_line(head, right, "th")}</thead>' if head else ''
    return f'<div class="wide"><table>{top}<tbody>{lines}</tbody></table></div>'


def _line(cells: _Cells, right: Sequence[bool], tag: str) -> str:
    inner = ''.join(
        f'<{tag}{" class=n" if to_right else ""}>'
        f'{cell if isinstance(cell, _Markup) else escape(str(cell))}</{tag}>'
        for cell, to_right in zip(cells, right, strict=True)
    )
    return f'<tr>{inner}</tr>'


class _Number(str):
    """Text of a number."""

    __slots__ = ()


class _Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def _number(value: float, form: str = '.3f') -> _Number:
    if isinstance(value, float) and not math.isfinite(value):
        return _Number('–' if math.isnan(value) else str(value))  # noqa: RUF001
    return _Number(format(value, form))


def _pairs(values: Mapping[str, Any]) -> str:
    return _table((), values.items()) if values else ''


def _figure(figures: Mapping[str, bytes], name: str, caption: str = '') -> str:
    if name not in figures:
        return ''
    source = base64.b64encode(figures[name]).decode('ascii')
    alt = escape(caption or name.removesuffix('.png').replace('_', ' '), quote=True)
    words = f'<figcaption>{escape(caption)}</figcaption>' if caption else ''
    return f'<figure><img alt="{alt}" src="data:image/png;base64,{source}">{words}</figure>'


def _grid(figures: Mapping[str, bytes], prefix: str) -> str:
    inner = ''.join(_figure(figures, name) for name in figures if name.startswith(prefix))
    return f'<div class="grid">{inner}</div>' if inner else ''


def _data_card(data: ReportData, figures: Mapping[str, bytes]) -> str:
    html = ''
    if data.sequences:
        total = [sum(getattr(row, part) for row in data.sequences) for part in _PARTS]
        rows = [(row.name, *(getattr(row, part) for part in _PARTS)) for row in data.sequences]
        shown = rows if len(rows) <= _MOST_ROWS else rows[:_MOST_ROWS]
        lines = [(name, *(_number(n, 'd') for n in counts)) for name, *counts in shown]
        if len(rows) > len(shown):
            rest = [sum(row[k] for row in rows[_MOST_ROWS:]) for k in (1, 2, 3)]
            label = f'{len(rows) - len(shown)} more'
            lines.append((label, *(_number(n, 'd') for n in rest)))
        lines.append(('all', *(_number(n, 'd') for n in total)))
        html += _table(('sequence', *_PARTS), lines)
    facts = {
        'held out by': data.split,
        'different pictures': data.distinct or '',
        'also in an earlier sequence': data.shared or '',
        'left out as near-duplicates': data.duplicates or '',
        'skipped, did not decode': len(data.skipped) or '',
        'files missing, damaged or out of order': len(data.missing) or '',
        'digest of network inputs': data.data_sha256,
    }
    html += _pairs({key: value for key, value in facts.items() if value != ''})
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
        (row.check, *(_number(x, '.4g') for x in (row.least, row.median, row.most)), row.passes)
        for row in data.health
    ]
    return (
        '<p class="dim">What the training frames have (from one in a thousand to 999 in a '
        'thousand), and what a frame must have to pass.</p>'
        + _table(('check', 'least', 'median', 'most', 'passes'), rows)
    )


def _backbone(data: ReportData) -> str:
    html = _pairs(flatten(data.backbone))
    if data.taps:
        head = ('tap', 'channels', 'px a cell', 'normalisation', 'density')
        html += _table(
            head,
            [
                (tap.name, _number(tap.channels, 'd'), _number(tap.reduction, 'd'),
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
        cell = _Number(f'{text} taken') if row.taken else _Number(text)
        rows.setdefault(row.density, []).append(cell)
    starts = [f'from {row.taps[0]} on' for row in data.candidates[: len(first.taps)]]
    shown = {'the first': first, 'taken': best} if best is not first else {'taken': best}
    html = words + _table(('', *starts), [(name, *cells) for name, cells in rows.items()])
    html += '<p>By kind of pseudo-OOD; only the first two decide.</p>'
    html += _table(
        ('', *first.auroc_by_kind),
        [
            (name, *(_number(area) for area in row.auroc_by_kind.values()))
            for name, row in shown.items()
        ],
    )
    html += '<p>Each tap alone, near pseudo-OOD; told, and no candidate.</p>'
    return html + _table(
        ('', *first.taps),
        [
            (name, *(_number(area) for area in areas.values()))
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
    words += _table(head, [_curve_row(tap) for tap in curves])
    if closed:
        words += f'<p class="dim">Closed form, nothing to train: {escape(", ".join(closed))}.</p>'
    return words + _grid(figures, 'curve_')


def _curve_row(tap: TapReport) -> _Cells:
    start, taken, last = tap.looks[0], tap.at(tap.step), tap.looks[-1]
    steps = [_number(tap.step, 'd'), _number(last.step, 'd')]
    nlls = (start.nll, taken.nll, last.nll, taken.nll_fit, last.nll_fit)
    nll = [_number(value, '.2f') for value in nlls]
    return [tap.name, *steps, *nll, *(_number(look.auroc) for look in (start, taken, last))]


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
            [name, *(_number(row.get(kind, math.nan)) for kind in kinds),
             _number(sum(row.values()) / len(row))]
            for name, row in by_tap.items()
        ]  # fmt: skip
        html += _table(('', *kinds, 'mean'), rows)
    html += _figure(figures, 'pseudo_ood.png', 'The kinds of pseudo-OOD pictures.')
    return html + _grid(figures, 'scores_')


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
            *(_number(row.auroc_by_kind[kind]) for kind in kinds),
        )
        for row in data.wild_rows
    ]
    return words + _table(head, rows) + _pairs(data.wild_facts)


def _share(over: int, count: int) -> _Number:
    return _Number(f'{over} of {count} ({over / count:.1%})')


def _map(data: ReportData, figures: Mapping[str, bytes]) -> str:
    if not data.map_facts:
        return ''
    return _pairs(flatten(data.map_facts)) + _figure(
        figures, 'maps.png',
        'Held-out frames, and defects pasted into them, with what is over the threshold of the '
        'map coloured and outlined; one colour is one value everywhere.',
    )  # fmt: skip


def _calibration(data: ReportData, figures: Mapping[str, bytes]) -> str:
    rows = data.calibrations
    if not rows:
        return ''
    facts = [
        ('trigger', [_number(row.trigger, '.4g') for row in rows]),
        ('release', [_number(row.release, '.4g') for row in rows]),
        ('share of frames it was set for (alpha)', [_number(row.alpha, '.3%') for row in rows]),
        ('held-out frames over the trigger', [_number(row.over_trigger(), '.3%') for row in rows]),
        ('frames', [_number(row.raw_score.size, 'd') for row in rows]),
    ]
    by_kind = [row.over_trigger_by_kind() for row in rows]
    facts += [
        (
            f'pseudo-OOD over the trigger: {kind}',
            [_number(kinds[kind], '.1%') for kinds in by_kind],
        )
        for kind in by_kind[0]
    ]
    pictures = {scores.size for row in rows for scores in row.raw_score_pseudo_ood.values()}
    if pictures:
        facts.append(
            ('pseudo-OOD pictures of each kind', [_number(max(pictures), 'd')] * len(rows))
        )
    names = [row.precision for row in rows]
    html = _table(('', *names), [(name, *cells) for name, cells in facts])
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
        (row.precision, _number(row.size_bytes / 1e6, '.2f'),
         *(_number(e) for e in (row.error_mean, row.error_p99, row.error_max)),
         _number(row.share_over, '.2%'), _number(row.share_change, '+.2%'),
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
        + _table(
            ('precision', *kinds),
            [
                (row.precision, *(_change(row, data.precisions[0], kind) for kind in kinds))
                for row in data.precisions
            ],
        )
    )
    return _table(head, rows) + aurocs + f'<p class="dim">{escape(words.strip())}</p>'


def _change(row: PrecisionRow, reference: PrecisionRow, kind: str) -> _Number:
    area = row.auroc_by_kind.get(kind, math.nan)
    shown = _number(area, '.4f')
    if row is reference or math.isnan(area):
        return shown
    return _Number(f'{shown} ({area - reference.auroc_by_kind[kind]:+.4f})')


def _verdict(accepted: bool, reason: str, word: str) -> _Markup:
    word = word or ('accepted' if accepted else 'refused')
    if word not in ('accepted', 'ok'):
        word = f'<span class="bad">{escape(word)}</span>'
    return _Markup(f'{word}: {escape(reason)}' if reason else word)


def _timings(data: ReportData) -> str:
    if not data.timings:
        return ''
    rows = [
        (row.name, _number(row.seconds, '.2f'), *_rate(row.frames, row.seconds),
         *_rate(row.decoded, row.seconds))
        for row in data.timings
    ]  # fmt: skip
    return _table(('', 's', 'frames', 'frames/s', 'decoded', 'decoded/s'), rows)


def _rate(count: int, seconds: float) -> tuple[_Number, _Number]:
    rate = count / seconds if count and seconds > 0 else math.nan
    return _number(count or math.nan, '.0f'), _number(rate, '.1f')


def _versions(data: ReportData) -> str:
    licences = {f'licence of {key}': value for key, value in data.licences.items()}
    return _pairs({**data.versions, **licences})
