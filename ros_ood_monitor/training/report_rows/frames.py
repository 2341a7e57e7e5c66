"""The frames: how many of each sequence, some of them to look at, and their health."""

from __future__ import annotations

from typing import Final

import numpy as np

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.health import HealthLimits, MEASURES
from ros_ood_monitor.training.evidence import Evidence
from ros_ood_monitor.training.report.data import HealthRow, SequenceRow, SheetImage
from ros_ood_monitor.training.rows import spread

__all__ = ['health_rows', 'sequence_rows', 'sheet']

_SHEET: Final = 48


def sequence_rows(evidence: Evidence) -> list[SequenceRow]:
    """Return how many frames of each sequence each part of the split has."""
    sequence, count = evidence.table.sequence, len(evidence.sequences)
    split = evidence.split
    fit, validation, calibration = (
        np.bincount(sequence[part], minlength=count)
        for part in (split.fit, split.validation, split.calibration)
    )
    return [
        SequenceRow(name, int(fit[k]), int(validation[k]), int(calibration[k]))
        for k, name in enumerate(evidence.sequences)
    ]


def sheet(evidence: Evidence) -> list[SheetImage]:
    """Return pictures from all over the training data."""
    split = evidence.split
    part_of = {
        int(row): name
        for name, part in (
            ('fit', split.fit),
            ('validation', split.validation),
            ('calibration', split.calibration),
        )
        for row in part
    }
    rows = sorted(evidence.pictures.kept)
    chosen = [rows[k] for k in spread(len(rows), _SHEET)]
    table = evidence.table
    sequence, stamp, position = table.sequence, table.stamp, table.position
    first = {int(k): int(np.flatnonzero(sequence == k)[0]) for k in np.unique(sequence[chosen])}

    def place(row: int) -> str:
        k = int(sequence[row])
        since = stamp[row] - stamp[first[k]]
        return f'{since:.1f} s' if np.isfinite(since) else f'frame {position[row]}'

    return [
        SheetImage(
            evidence.pictures.kept[row],
            part_of.get(row, ''),
            evidence.sequences[sequence[row]],
            place(row),
        )
        for row in chosen
    ]


def health_rows(bundle: Bundle) -> list[HealthRow]:
    """Return what the training frames have of each measure, and what passes."""
    table = bundle.manifest.health
    assert table is not None  # every training makes one
    limits = HealthLimits.from_table(table)
    return [
        HealthRow(name, table[name][0], table[name][2], table[name][-1], limits.passes(name))
        for name in MEASURES
    ]
