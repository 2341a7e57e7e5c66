"""What wild frames taught."""

from __future__ import annotations

from typing import Any

from ros_ood_monitor.training.report.data import WildRow
from ros_ood_monitor.training.wild.fitted_wild import FittedWild, Flagged

__all__ = ['wild_facts', 'wild_rows']


def wild_facts(wild: FittedWild | None) -> dict[str, Any]:
    """Return what the wild frames were and did, by name; empty without any."""
    if wild is None:
        return {}
    return {
        'result': wild.sentence(),
        'has learnt': wild.has_learnt,
        'constraint holds': wild.holds,
        'alpha': wild.alpha,
        'sequences': ', '.join(wild.frames.sequences),
        'frames': wild.frames.frames,
        'different pictures': wild.frames.distinct,
        'training frames among them': wild.frames.shared,
        'look like a training frame': round(wild.frames.twins, 4),
        'skipped, did not decode': wild.frames.skipped,
        'held out by': wild.split,
        'cost of weights': wild.woods.decay,
        'digest of network inputs': wild.frames.data_sha256,
    }


def wild_rows(wild: FittedWild | None) -> list[WildRow]:
    """Return the density with and without them; empty without any."""
    if wild is None:
        return []

    def row(one: Flagged) -> WildRow:
        return WildRow(one.density, *one.known, *one.wild, auroc_by_kind=one.auroc_by_kind)

    return [row(wild.beside), row(wild.head)]
