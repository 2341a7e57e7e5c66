"""The demonstration on one page: the score over time, and the frames at its turning points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import io
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.records import State
from ros_ood_monitor.ros.demo.seen import alerts_of, Interval, key_moments, Point

__all__ = ['draw_overview']

_INK: Final = '#1b2733'
_FAINT: Final = '#8a97a5'
_COLOURS: Final = {
    State.NORMAL: '#0072b2',
    State.SUSPECT: '#e69f00',
    State.ALERT: '#d55e00',
    State.STALE: '#8a97a5',
    State.FAULT: '#cc79a7',
}
_TITLES: Final = {
    'normal': 'before',
    'alert': 'raises the alert',
    'worst': 'highest score',
    'after': 'after',
}


def draw_overview(
    points: Sequence[Point],
    frames: Mapping[float, npt.NDArray[np.uint8]],
    truth: Sequence[Interval],
    *,
    title: str,
    unit: str,
) -> bytes:
    """
    Draw the overview.

    Parameters
    ----------
    points : sequence of Point
        The node's answers in the order of time, at least one.
    frames : mapping of float to ndarray of shape (height, width, 3), uint8
        Pictures by stamp; of the key moments at least.
    truth : sequence of Interval
        Labelled stretches.
    title : str
        What is shown.
    unit : str
        Unit of raw_score.

    Returns
    -------
    bytes
        A PNG file.

    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    moments = key_moments(points)
    figure = Figure(figsize=(11.0, 6.6), dpi=120, facecolor='white')
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        2, len(moments), height_ratios=(1.0, 1.35), hspace=0.42, wspace=0.06,
        left=0.07, right=0.975, top=0.86, bottom=0.1,
    )  # fmt: skip
    figure.text(0.07, 0.945, title, fontsize=15, color=_INK, weight='bold')
    chart = figure.add_subplot(grid[1, :])
    start = points[0].stamp
    _draw_score(chart, points, truth, start, unit)
    for column, (name, point) in enumerate(moments.items()):
        panel = figure.add_subplot(grid[0, column])
        _draw_frame(panel, frames.get(point.stamp), point, name, chr(ord('A') + column), start)
        _mark(chart, point, chr(ord('A') + column), start)
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png')
    return buffer.getvalue()


def _draw_frame(
    panel: Any,
    rgb: npt.NDArray[np.uint8] | None,
    point: Point,
    name: str,
    letter: str,
    start: float,
) -> None:
    if rgb is not None:
        panel.imshow(rgb, interpolation='antialiased')
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_color(_COLOURS[point.state])
        spine.set_linewidth(3.0)
    panel.set_title(
        f'{letter}  {_TITLES[name]}, {point.stamp - start:.1f} s',
        fontsize=11, color=_INK, loc='left',
    )  # fmt: skip
    panel.set_xlabel(
        f'{point.state.value}   raw_score {_short(point.raw_score)}',
        fontsize=9, color=_COLOURS[point.state],
    )  # fmt: skip


def _draw_score(
    chart: Any, points: Sequence[Point], truth: Sequence[Interval], start: float, unit: str
) -> None:
    time = np.array([p.stamp for p in points]) - start
    raw_score = np.array([p.raw_score for p in points])
    threshold = np.array([p.threshold for p in points])
    for interval in alerts_of(points):
        chart.axvspan(
            interval.start - start, interval.end - start,
            color=_COLOURS[State.ALERT], alpha=0.14, lw=0, label='alert',
        )  # fmt: skip
    chart.margins(y=0.12)  # room for a letter over the highest point
    chart.plot(time, raw_score, color=_FAINT, lw=1.0, zorder=2)
    for state in dict.fromkeys(p.state for p in points):
        chosen = np.array([p.state is state for p in points])
        chart.scatter(
            time[chosen], raw_score[chosen], s=12, color=_COLOURS[state], zorder=3, lw=0,
            label=state.value,
        )  # fmt: skip
    chart.plot(time, threshold, color=_INK, lw=1.0, ls=(0, (5, 3)), label='trigger threshold')
    if np.ptp(raw_score) > 40.0 * max(1e-9, float(np.ptp(np.percentile(raw_score, (10, 50))))):
        # anomalies far out: keep the normal range readable, too
        linear = float(np.abs(threshold).max()) or 1.0
        chart.set_yscale('symlog', linthresh=linear)
    _draw_truth(chart, truth, start)
    chart.set_xlim(time[0], max(time[-1], time[0] + 1e-3))
    chart.set_xlabel('image time, s', color=_INK)
    chart.set_ylabel(f'raw_score, {unit}', color=_INK)
    for side in ('top', 'right'):
        chart.spines[side].set_visible(False)
    chart.legend(
        loc='lower right', bbox_to_anchor=(1.0, 1.01), ncol=6, frameon=False, fontsize=9,
        handletextpad=0.4, columnspacing=1.2, borderaxespad=0.0,
    )  # fmt: skip


def _draw_truth(chart: Any, truth: Sequence[Interval], start: float) -> None:
    for interval in truth:
        begin, end = interval.start - start, interval.end - start
        chart.plot(
            [begin, end], [0.03, 0.03], transform=chart.get_xaxis_transform(),
            color=_INK, lw=5.0, solid_capstyle='butt', zorder=4,
        )  # fmt: skip
        chart.text(
            (begin + end) / 2.0, 0.055, f'labelled: {interval.label or "anomaly"}',
            transform=chart.get_xaxis_transform(), ha='center', va='bottom', fontsize=9,
            color=_INK, zorder=5,
        )  # fmt: skip


def _mark(chart: Any, point: Point, letter: str, start: float) -> None:
    chart.annotate(
        letter, (point.stamp - start, point.raw_score), xytext=(0, 9),
        textcoords='offset points', ha='center', fontsize=10, weight='bold', color=_INK, zorder=6,
    )  # fmt: skip


def _short(value: float) -> str:
    return f'{value:,.0f}' if abs(value) >= 100.0 else f'{value:.2f}'
