"""Figures of all bags as one, and of each kind, camera and bag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.evaluation.bags.event_figures import event_figures, EventFigures
from ros_ood_monitor.evaluation.bags.frame_figures import frame_figures, FrameFigures
from ros_ood_monitor.evaluation.bags.judged import JudgedBag
from ros_ood_monitor.evaluation.bags.table import Bootstrap, choose_block, Table

__all__ = ['Row', 'Rows', 'choose_bootstrap']


@dataclass(frozen=True)
class Row:
    """The figures of one kind, camera or bag, or of all together."""

    name: str
    frames: FrameFigures
    events: EventFigures


@dataclass(frozen=True)
class Rows:
    """
    The figures of an evaluation.

    Parameters
    ----------
    together : Row
        All bags as one.
    kinds, cameras, bags : tuple of Row
        Each kind of label against everything in-distribution, each camera, each bag.

    """

    together: Row
    kinds: tuple[Row, ...]
    cameras: tuple[Row, ...]
    bags: tuple[Row, ...]

    @classmethod
    def of(cls, bags: Sequence[JudgedBag], table: Table, bootstrap: Bootstrap) -> Rows:
        """
        Measure bags.

        Parameters
        ----------
        bags : sequence of JudgedBag
            The bags, at least one.
        table : Table
            Their frames.
        bootstrap : Bootstrap
            How intervals are drawn.

        Returns
        -------
        Rows
            All figures.

        """
        threshold = bags[0].scored.facts.threshold
        events = [event for bag in bags for event in bag.events]
        everything = np.arange(table.label.size)

        def frames(rows: npt.NDArray[np.int64], label: npt.NDArray[np.int8]) -> FrameFigures:
            return frame_figures(table, rows, label, threshold=threshold, bootstrap=bootstrap)

        return cls(
            together=Row(
                'all',
                frames(everything, table.label),
                event_figures(events, bags, bootstrap=bootstrap),
            ),
            kinds=tuple(
                Row(
                    kind,
                    frames(everything, table.label_for(kind)),
                    event_figures([e for e in events if e.kind == kind], bootstrap=bootstrap),
                )
                for kind in sorted({event.kind for event in events})
            ),
            cameras=tuple(
                Row(
                    name,
                    frames(np.flatnonzero(table.camera == k), table.label),
                    event_figures(
                        [e for e in events if e.camera == name],
                        bags,
                        bootstrap=bootstrap,
                        camera=name,
                    ),
                )
                for k, name in enumerate(table.cameras)
            ),
            bags=tuple(
                Row(
                    bag.name,
                    frames(np.flatnonzero(table.bag == k), table.label),
                    event_figures(bag.events, [bag], bootstrap=bootstrap),
                )
                for k, bag in enumerate(bags)
            ),
        )


def choose_bootstrap(
    bags: Sequence[JudgedBag], table: Table, *, seed: int, resamples: int
) -> Bootstrap:
    """
    Choose how intervals are drawn.

    Parameters
    ----------
    bags : sequence of JudgedBag
        The bags.
    table : Table
        Their frames.
    seed, resamples
        As asked for.

    Returns
    -------
    Bootstrap
        Blocks as long as the autocorrelation of the scores wants them.

    """
    block = choose_block(table, table.raw_score)
    periods = [
        step
        for bag in bags
        for camera in range(len(bag.scored.facts.cameras))
        if (step := np.diff(bag.scored.stamp[bag.scored.rows_of(camera)])).size
    ]
    period = float(np.median(np.concatenate(periods))) if periods else 0.0
    return Bootstrap(block, block * period, seed, resamples)
