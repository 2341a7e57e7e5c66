"""The pictures of a training report, each as the bytes of a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import io
import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.training.report.data import (
    AtypicalImage,
    CalibrationRow,
    ReportData,
    SheetImage,
    TapReport,
)

__all__ = ['draw_all']

# Okabe and Ito's colours, which stay apart with every kind of colour vision
_HELD_OUT, _FIT, _AUROC, _CHOSEN = '#0072B2', '#56B4E9', '#009E73', '#D55E00'
# far apart in lightness too, and each with a line style of its own
_PART_COLOURS: Final = {'fit': '#56B4E9', 'validation': '#E69F00', 'calibration': '#000000'}
_PART_STYLES: Final = {'fit': '-', 'validation': '--', 'calibration': ':'}
_OTHER: Final = '#999999'
_DPI: Final = 130
_SHEET_IMAGES: Final = 48
_CLIP: Final = 8.0  # a curve that leaves the picture is cut at so many times its gain
_FAR: Final = 6.0  # deviations up to which the axis of scores is linear


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
        drawn['contact_sheet.png'] = _contact_sheet(data.sheet)
    if data.examples:
        drawn['pseudo_ood.png'] = _examples(data.examples)
    lowest = _lowest_auroc(data.taps)
    for k, tap in enumerate(data.taps):
        if tap.has_curve:
            drawn[f'curve_{figure_name(k, tap)}.png'] = _curve(tap, lowest)
    for k, tap in enumerate(data.taps):
        if tap.held_out.size:
            drawn[f'scores_{figure_name(k, tap)}.png'] = _scores(tap)
    if data.atypical:
        drawn['atypical.png'] = _atypical(data.atypical)
    if data.map_examples:
        drawn['maps.png'] = _examples(data.map_examples)
    if data.calibrations:
        drawn['calibration.png'] = _calibration(data.calibrations[0], data.unit)
    return drawn


def figure_name(number: int, tap: TapReport) -> str:
    """Return the part of a file's name that stands for a tap; safe on every file system."""
    safe = ''.join(c if c.isascii() and c.isalnum() else '_' for c in tap.name)
    return f'{number}_{safe}'


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout='constrained')
    FigureCanvasAgg(figure)  # draws without a display, whatever the user's settings say
    return figure


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    # no line about the software: equal data give equal bytes
    figure.savefig(buffer, format='png', metadata={'Software': None})
    return buffer.getvalue()


def _plain(axes: Any) -> None:
    axes.grid(visible=True, color='0.9', lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)


def _contact_sheet(sheet: Sequence[SheetImage]) -> bytes:
    from matplotlib.lines import Line2D

    spread = np.unique(np.linspace(0, len(sheet) - 1, min(len(sheet), _SHEET_IMAGES)).astype(int))
    columns = min(8, len(spread))
    rows = math.ceil(len(spread) / columns)
    height, width = sheet[0].image.shape[:2]
    figure = _figure(8.0, (8.0 / columns * height / width + 0.36) * rows + 0.4)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells:
        axes.axis('off')
    parts = []
    for axes, k in zip(cells, spread, strict=False):
        shown = sheet[k]
        axes.axis('on')
        axes.imshow(shown.image)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(
                color=_PART_COLOURS.get(shown.part, _OTHER),
                linewidth=3,
                linestyle=_PART_STYLES.get(shown.part, '-'),
            )
        axes.set_xlabel(
            f'{_shortened(shown.sequence)}\n{shown.part[:3]} {shown.place}'.strip(),
            fontsize=6,
            labelpad=3,
        )
        parts.append(shown.part)
    named = [part for part in (*_PART_COLOURS, '') if part in parts]
    handles = [
        Line2D(
            [],
            [],
            color=_PART_COLOURS.get(part, _OTHER),
            ls=_PART_STYLES.get(part, '-'),
            lw=3,
            label=part or 'in no part',
        )
        for part in named
    ]
    if handles:
        figure.legend(handles=handles, loc='outside upper left', ncols=4, frameon=False)
    return _png(figure)


def _atypical(frames: Sequence[AtypicalImage]) -> bytes:
    columns = min(6, len(frames))
    rows = math.ceil(len(frames) / columns)
    height, width = frames[0].image.shape[:2]
    figure = _figure(8.0, (8.0 / columns * height / width + 0.42) * rows)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells:
        axes.axis('off')
    for axes, one in zip(cells, frames, strict=False):
        axes.axis('on')
        axes.imshow(one.image)
        axes.set(xticks=[], yticks=[])
        axes.set_xlabel(
            f'{_shortened(one.place, 26)}\n{_shortened(one.label)}: {one.masked:.2g} '
            f'({one.plain:.2g})',
            fontsize=6,
            labelpad=3,
        )
    return _png(figure)


def _shortened(name: str, most: int = 18) -> str:
    """Keep the end of a name, which tells sequences apart."""
    return name if len(name) <= most else '…' + name[1 - most :]


def _examples(examples: Mapping[str, npt.NDArray[np.uint8]]) -> bytes:
    rows = min([2, *map(len, examples.values())])
    figure = _figure(8.0, 8.0 / len(examples) * rows + 0.35)
    cells = figure.subplots(rows, len(examples), squeeze=False)
    for column, (kind, images) in enumerate(examples.items()):
        picked = np.linspace(0, len(images) - 1, rows + 2).astype(int)[1:-1]
        for axes, k in zip(cells[:, column], picked, strict=True):
            axes.imshow(images[k])
            axes.set(xticks=[], yticks=[])
        cells[0, column].set_title(kind, fontsize=10)
    return _png(figure)


def _lowest_auroc(taps: Sequence[TapReport]) -> float:
    """Return where the AUROC axis of every panel begins, so that panels can be compared."""
    low = [
        look.auroc - np.nan_to_num(tap.look_error(look))
        for tap in taps
        for look in tap.looks
        if math.isfinite(look.auroc)
    ]
    return max(0.0, min(low, default=0.0) - 0.02)


def _curve(tap: TapReport, lowest: float) -> bytes:
    steps = np.array([look.step for look in tap.looks])  # (k,)
    nll = _finite([look.nll for look in tap.looks])  # (k,)
    nll_fit = _finite([look.nll_fit for look in tap.looks])  # (k,)
    auroc = _finite([look.auroc for look in tap.looks])  # (k,)
    panels = 2 if np.isfinite(auroc).any() else 1
    figure = _figure(5.4, 1.4 + 1.9 * panels)
    axes = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    figure.suptitle(f'{tap.name}: {tap.density}, {tap.channels} channels', fontsize=11)
    marker = '.' if len(steps) <= 60 else ''
    if np.isfinite(nll_fit).any():
        axes[0].plot(steps, nll_fit, color=_FIT, ls='--', marker=marker, label='fit frames')
    axes[0].plot(steps, nll, color=_HELD_OUT, marker=marker, label='held-out frames')
    axes[0].set_ylabel('nll [nats]')
    cut = _cut_tall(axes[0], nll, nll_fit)
    if panels == 2:
        error = np.array([tap.look_error(look) for look in tap.looks])  # (k,)
        pictures = f' ({tap.pictures} pictures)' if tap.pictures else ''
        axes[1].plot(steps, auroc, color=_AUROC, marker=marker, label=f'pseudo-OOD{pictures}')
        if np.isfinite(error).any():
            low, high = auroc - error, np.minimum(auroc + error, 1.0)
            axes[1].fill_between(
                steps, low, high, color=_AUROC, alpha=0.2, lw=0, label='one standard error'
            )
        axes[1].set_ylabel('AUROC, pseudo-OOD')
        axes[1].set_ylim(lowest, 1.005)
    for panel in axes:
        _plain(panel)
        panel.axvline(tap.step, color=_CHOSEN, lw=1.6, label=f'taken: step {tap.step}')
        if tap.steps and steps[-1] > tap.steps:
            # the edge shows the swatch where the legend lies on the span itself
            panel.axvspan(
                tap.steps, steps[-1], fc='0.88', ec=_OTHER, lw=0.8, zorder=0, label='evidence only'
            )
        panel.legend(fontsize=8, frameon=False, loc='best')
        panel.margins(x=0.02)
    told = ['nll is cut off above'] if cut else []
    end = _last_shown(tap, steps)
    if end < steps[-1]:
        axes[0].set_xlim(-0.02 * end, 1.02 * end)
        told.append(f'evidence goes on to step {steps[-1]}')
    axes[-1].set_xlabel('optimiser steps' + (f' ({"; ".join(told)})' if told else ''))
    return _png(figure)


def _last_shown(tap: TapReport, steps: npt.NDArray[np.int64]) -> int:
    """Leave at least a third of the axis to the training; one look beyond it is always there."""
    last = int(steps[-1])
    if not 0 < 3 * tap.steps < last:
        return last
    beyond = steps[steps > tap.steps]
    return max(3 * tap.steps, int(beyond[0]))


def _finite(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Turn infinities into gaps."""
    array = np.array(values, np.float64)
    return np.where(np.isfinite(array), array, np.nan)


def _cut_tall(axes: Any, *curves: npt.NDArray[np.float64]) -> bool:
    """Keep a flow that exploded from flattening everything that came before."""
    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    if not values.size:
        return False
    held_out = curves[0][np.isfinite(curves[0])]
    low, start = float(values.min()), float(held_out[0] if held_out.size else values[0])
    gain = max(start - low, 1.0)
    top = start + _CLIP * gain
    if float(values.max()) <= top:
        return False
    axes.set_ylim(low - 0.1 * gain, top)
    return True


def _scores(tap: TapReport) -> bytes:
    center = float(tap.held_out.mean())
    deviation = float(tap.held_out.std()) or 1.0
    rows = {'held-out': tap.held_out, **tap.pseudo_ood}
    aurocs = tap.auroc_by_kind()
    figure = _figure(5.4, 1.2 + 0.36 * len(rows))
    axes = figure.subplots()
    _quantile_rows(
        axes, {kind: (score - center) / deviation for kind, score in rows.items()}, aurocs
    )
    axes.set_title(f'{tap.name}: scores of {tap.density}', fontsize=11, loc='left')
    axes.set_xlabel('deviations of held-out frames from their mean')
    return _png(figure)


def _quantile_rows(
    axes: Any, rows: Mapping[str, npt.NDArray[np.float64]], aurocs: Mapping[str, float]
) -> None:
    """Draw a line a kind: 5 to 95 % thin, 25 to 75 % thick, the median as a dot."""
    everything = np.concatenate(list(rows.values()))
    for y, (kind, values) in enumerate(rows.items()):
        colour = _AUROC if kind in aurocs else _HELD_OUT
        low, first, middle, third, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
        axes.plot([low, high], [y, y], color=colour, lw=1.5, solid_capstyle='butt')
        axes.plot([first, third], [y, y], color=colour, lw=7, alpha=0.6, solid_capstyle='butt')
        axes.plot([middle], [y], 'o', color='white', mec=colour, ms=5)
        if kind in aurocs:
            axes.annotate(
                f'{aurocs[kind]:.3f}', (1.02, y), xycoords=('axes fraction', 'data'),
                va='center', fontsize=9,
            )  # fmt: skip
    if aurocs:
        axes.annotate('AUROC', (1.02, -0.9), xycoords=('axes fraction', 'data'), fontsize=8)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    if float(np.abs(everything).max()) > 2 * _FAR:
        axes.set_xscale('symlog', linthresh=_FAR, linscale=1.5)
    _plain(axes)


def _calibration(row: CalibrationRow, unit: str) -> bytes:
    figure = _figure(8.0, 3.6)
    axes = figure.subplots()
    lines = [line for line in (row.trigger, row.release) if math.isfinite(line)]
    pseudo = [scores for scores in row.raw_score_pseudo_ood.values() if scores.size]
    sets: list[tuple[str, npt.NDArray[np.float64], dict[str, Any]]] = [
        ('held-out frames', row.raw_score, {'color': _HELD_OUT, 'alpha': 0.65})
    ]
    if pseudo:
        style = {'color': _AUROC, 'histtype': 'step', 'lw': 1.6}
        sets.append(('pseudo-OOD', np.concatenate(pseudo), style))
    low, high = _shown_scores(row.raw_score, [scores for _, scores, _ in sets], lines)
    bins = np.linspace(low, high, 60)
    beyond = []
    for label, scores, style in sets:
        weights = np.full(scores.size, 100.0 / scores.size)
        inside = (scores >= low) & (scores <= high)
        axes.hist(
            scores[inside],
            bins,
            weights=weights[inside],
            label=f'{label} ({scores.size})',
            **style,
        )
        out = int(np.count_nonzero(~inside))
        if out:
            beyond.append(
                f'{out} of {scores.size} {label} ({out / scores.size:.0%}, '
                f'{float(scores[~inside].min()):.4g} to {float(scores[~inside].max()):.4g})'
            )
    if math.isfinite(row.trigger):
        axes.axvline(row.trigger, color=_CHOSEN, lw=1.8, label=f'trigger {row.trigger:.4g}')
    if math.isfinite(row.release):
        axes.axvline(
            row.release, color=_CHOSEN, lw=1.4, ls='--', label=f'release {row.release:.4g}'
        )
    axes.set_xlim(low, high)
    axes.set_title(row.precision, fontsize=11, loc='left')
    named = f'raw_score [{unit}]' if unit else 'raw_score'
    axes.set_xlabel('\n'.join([named, *(f'outside of the picture: {line}' for line in beyond)]))
    axes.set_ylabel('share [%]')
    _plain(axes)
    axes.legend(frameon=False, fontsize=9)
    return _png(figure)


def _shown_scores(
    held_out: npt.NDArray[np.float64],
    sets: Sequence[npt.NDArray[np.float64]],
    lines: Sequence[float],
) -> tuple[float, float]:
    """Return the range of the axis: nearly all held-out scores and the thresholds, no outlier."""
    first, middle, last = np.quantile(held_out, [0.01, 0.5, 0.99])
    low, high = min(float(first), *lines, math.inf), max(float(last), *lines, -math.inf)
    reach = max(float(high - middle), float(middle - low)) or 1.0
    # an outlier that is near is shown
    everything = np.concatenate([*sets, np.array(lines)])
    low = max(float(everything.min()), low - reach)
    high = min(float(everything.max()), high + reach)
    margin = 0.03 * ((high - low) or 1.0)
    return low - margin, high + margin
