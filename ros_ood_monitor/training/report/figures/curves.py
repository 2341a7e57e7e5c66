"""How a flow was trained: nll, and AUROC of pseudo-OOD, over the optimiser steps."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.training.report.data import TapReport
from ros_ood_monitor.training.report.figures.canvas import (
    AUROC,
    CHOSEN,
    FIT,
    HELD_OUT,
    new_figure,
    OTHER,
    plain_axes,
    to_png,
)

__all__ = ['draw_curve', 'lowest_auroc']

_CLIP: Final = 8.0  # a curve that leaves the picture is cut at so many times its gain


def lowest_auroc(taps: Sequence[TapReport]) -> float:
    """Return where the AUROC axis of every panel begins, so that panels can be compared."""
    low = [
        look.auroc - np.nan_to_num(tap.look_error(look))
        for tap in taps
        for look in tap.looks
        if math.isfinite(look.auroc)
    ]
    return max(0.0, min(low, default=0.0) - 0.02)


def draw_curve(tap: TapReport, lowest: float) -> bytes:
    """Draw how a flow was trained."""
    steps = np.array([look.step for look in tap.looks])  # (k,)
    nll = _finite([look.nll for look in tap.looks])  # (k,)
    nll_fit = _finite([look.nll_fit for look in tap.looks])  # (k,)
    auroc = _finite([look.auroc for look in tap.looks])  # (k,)
    panels = 2 if np.isfinite(auroc).any() else 1
    figure = new_figure(5.4, 1.4 + 1.9 * panels)
    axes = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    figure.suptitle(f'{tap.name}: {tap.density}, {tap.channels} channels', fontsize=11)
    marker = '.' if len(steps) <= 60 else ''
    if np.isfinite(nll_fit).any():
        axes[0].plot(steps, nll_fit, color=FIT, ls='--', marker=marker, label='fit frames')
    axes[0].plot(steps, nll, color=HELD_OUT, marker=marker, label='held-out frames')
    axes[0].set_ylabel('nll [nats]')
    cut = _cut_tall(axes[0], nll, nll_fit)
    if panels == 2:
        error = np.array([tap.look_error(look) for look in tap.looks])  # (k,)
        pictures = f' ({tap.pictures} pictures)' if tap.pictures else ''
        axes[1].plot(steps, auroc, color=AUROC, marker=marker, label=f'pseudo-OOD{pictures}')
        if np.isfinite(error).any():
            low, high = auroc - error, np.minimum(auroc + error, 1.0)
            axes[1].fill_between(
                steps, low, high, color=AUROC, alpha=0.2, lw=0, label='one standard error'
            )
        axes[1].set_ylabel('AUROC, pseudo-OOD')
        axes[1].set_ylim(lowest, 1.005)
    for panel in axes:
        plain_axes(panel)
        panel.axvline(tap.step, color=CHOSEN, lw=1.6, label=f'taken: step {tap.step}')
        if tap.steps and steps[-1] > tap.steps:
            # the edge shows the swatch where the legend lies on the span itself
            panel.axvspan(
                tap.steps, steps[-1], fc='0.88', ec=OTHER, lw=0.8, zorder=0, label='evidence only'
            )
        panel.legend(fontsize=8, frameon=False, loc='best')
        panel.margins(x=0.02)
    told = ['nll is cut off above'] if cut else []
    end = _last_shown(tap, steps)
    if end < steps[-1]:
        axes[0].set_xlim(-0.02 * end, 1.02 * end)
        told.append(f'evidence goes on to step {steps[-1]}')
    axes[-1].set_xlabel('optimiser steps' + (f' ({"; ".join(told)})' if told else ''))
    return to_png(figure)


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
