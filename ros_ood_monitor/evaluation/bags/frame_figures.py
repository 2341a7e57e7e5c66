"""How well raw_score tells the frames of bags apart, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.evaluation.bags.blocks import draw_metrics, FRAME_METRICS, intervals_of
from ros_ood_monitor.evaluation.bags.table import block_frames, Bootstrap, Table
from ros_ood_monitor.metrics import (
    aupr,
    auroc,
    fpr95_id_positive,
    fpr95_ood_positive,
    Interval,
    share_over,
)

__all__ = ['METRICS', 'FrameFigures', 'frame_figures']

METRICS: Final = (auroc, aupr, fpr95_id_positive, fpr95_ood_positive)
"""What computes each of `FRAME_METRICS`, from scores of either class."""


@dataclass(frozen=True)
class FrameFigures:
    """
    How well raw_score tells the frames apart.

    Parameters
    ----------
    id_frames, ood_frames, ignored_frames : int
        In- and out-of-distribution frames, and those within the margin of a label.
    not_judged_frames, not_judged_ood_frames : int
        Frames of either class that the monitor refused to judge, for they are no usable picture;
        and how many of them are out-of-distribution. They are in none of the other counts.
    id_over_threshold, ood_over_threshold : float or None
        Share of either over the threshold; None without frames.
    metrics : dict of str to float or None
        By `FRAME_METRICS`; None where a class is empty.
    intervals : dict of str to Interval or None
        Their 95 % block-bootstrap intervals; None where there are too few stretches to tell, or
        every draw agrees.

    """

    id_frames: int
    ood_frames: int
    ignored_frames: int
    not_judged_frames: int
    not_judged_ood_frames: int
    id_over_threshold: float | None
    ood_over_threshold: float | None
    metrics: dict[str, float | None]
    intervals: dict[str, Interval | None]


def frame_figures(
    table: Table,
    rows: npt.NDArray[np.int64],
    label: npt.NDArray[np.int8],
    *,
    threshold: float,
    bootstrap: Bootstrap,
) -> FrameFigures:
    """
    Measure some frames.

    Parameters
    ----------
    table : Table
        All frames.
    rows : ndarray of shape (k,), int64
        Which ones, ascending.
    label : ndarray of shape (n,), int8
        Labels of all.
    threshold : float
        On raw_score.
    bootstrap : Bootstrap
        How intervals are drawn.

    Returns
    -------
    FrameFigures
        Figures without intervals where a class is empty.

    """
    mine, score, judged = label[rows], table.raw_score[rows], table.judged[rows]
    left_out = mine[~judged & (mine >= 0)]
    ignored = int(np.count_nonzero(mine < 0))
    mine = np.where(judged, mine, np.int8(-1))
    known, foreign = score[mine == 0], score[mine == 1]
    metrics: dict[str, float | None] = dict.fromkeys(FRAME_METRICS)
    intervals: dict[str, Interval | None] = dict.fromkeys(FRAME_METRICS)
    if known.size and foreign.size:
        found = [metric(known, foreign) for metric in METRICS]
        metrics = dict(zip(FRAME_METRICS, found, strict=True))
        drawn = draw_metrics(
            [score],
            mine,
            block=block_frames(table, rows, bootstrap.block),
            seed=bootstrap.seed,
            resamples=bootstrap.resamples,
        )
        intervals = intervals_of(drawn[:, 0])
        for name, interval in intervals.items():
            if interval is not None and not np.ptp(drawn[:, 0, FRAME_METRICS.index(name)]) > 0.0:
                intervals[name] = None  # every draw agrees: too few overlap to tell chance
    return FrameFigures(
        id_frames=int(known.size),
        ood_frames=int(foreign.size),
        ignored_frames=ignored,
        not_judged_frames=int(left_out.size),
        not_judged_ood_frames=int(np.count_nonzero(left_out == 1)),
        id_over_threshold=share_over(known, threshold) if known.size else None,
        ood_over_threshold=share_over(foreign, threshold) if foreign.size else None,
        metrics=metrics,
        intervals=intervals,
    )
