"""How far scores of pseudo-OOD lie from those of held-out frames, and where thresholds are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.training.report.data import CalibrationRow, TapReport
from ros_ood_monitor.training.report.figures.canvas import (
    AUROC,
    CHOSEN,
    HELD_OUT,
    new_figure,
    plain_axes,
    to_png,
)

__all__ = ['draw_calibration', 'draw_scores']

_FAR: Final = 6.0  # deviations up to which the axis of scores is linear


def draw_scores(tap: TapReport) -> bytes:
    """Draw how far pseudo-OOD lies from held-out frames at one tap."""
    center = float(tap.held_out.mean())
    deviation = float(tap.held_out.std()) or 1.0
    rows = {'held-out': tap.held_out, **tap.pseudo_ood}
    aurocs = tap.auroc_by_kind()
    figure = new_figure(5.4, 1.2 + 0.36 * len(rows))
    axes = figure.subplots()
    _quantile_rows(
        axes, {kind: (score - center) / deviation for kind, score in rows.items()}, aurocs
    )
    axes.set_title(f'{tap.name}: scores of {tap.density}', fontsize=11, loc='left')
    axes.set_xlabel('deviations of held-out frames from their mean')
    return to_png(figure)


def _quantile_rows(
    axes: Any, rows: Mapping[str, npt.NDArray[np.float64]], aurocs: Mapping[str, float]
) -> None:
    """Draw a line a kind: 5 to 95 % thin, 25 to 75 % thick, the median as a dot."""
    everything = np.concatenate(list(rows.values()))
    for y, (kind, values) in enumerate(rows.items()):
        colour = AUROC if kind in aurocs else HELD_OUT
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
    plain_axes(axes)


def draw_calibration(row: CalibrationRow, unit: str) -> bytes:
    """Draw the scores of one precision, and its thresholds."""
    figure = new_figure(8.0, 3.6)
    axes = figure.subplots()
    lines = [line for line in (row.trigger, row.release) if math.isfinite(line)]
    pseudo = [scores for scores in row.raw_score_pseudo_ood.values() if scores.size]
    sets: list[tuple[str, npt.NDArray[np.float64], dict[str, Any]]] = [
        ('held-out frames', row.raw_score, {'color': HELD_OUT, 'alpha': 0.65})
    ]
    if pseudo:
        style = {'color': AUROC, 'histtype': 'step', 'lw': 1.6}
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
        axes.axvline(row.trigger, color=CHOSEN, lw=1.8, label=f'trigger {row.trigger:.4g}')
    if math.isfinite(row.release):
        axes.axvline(
            row.release, color=CHOSEN, lw=1.4, ls='--', label=f'release {row.release:.4g}'
        )
    axes.set_xlim(low, high)
    axes.set_title(row.precision, fontsize=11, loc='left')
    named = f'raw_score [{unit}]' if unit else 'raw_score'
    axes.set_xlabel('\n'.join([named, *(f'outside of the picture: {line}' for line in beyond)]))
    axes.set_ylabel('share [%]')
    plain_axes(axes)
    axes.legend(frameon=False, fontsize=9)
    return to_png(figure)


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
