"""What the frames' labels did to the backbone, as rows of the report."""

from __future__ import annotations

from typing import Any

from ros_ood_monitor.training.evidence import Evidence
from ros_ood_monitor.training.report import AtypicalImage, UnmaskRow
from ros_ood_monitor.training.unmask_frames import Unmasked

__all__ = ['atypical_frames', 'unmask_facts', 'unmask_rows']


def unmask_facts(unmasked: Unmasked | None) -> dict[str, Any]:
    """Return the facts beside the tables; none where no label was used."""
    if unmasked is None:
        return {}
    card = unmasked.card()
    del card['auroc']
    card.get('mask', {}).pop('layers', None)
    card['atypical'] = f'{len(unmasked.constraint.atypical)} of {unmasked.counts[0]} fitted frames'
    return card


def unmask_rows(unmasked: Unmasked | None) -> list[UnmaskRow]:
    """Return what each score of the classifier reaches, before and after."""
    if unmasked is None:
        return []
    return [
        UnmaskRow(score, kinds, unmasked.after[score]) for score, kinds in unmasked.before.items()
    ]


def atypical_frames(evidence: Evidence) -> list[AtypicalImage]:
    """Return the fitted frames that stand out, the largest masked loss first."""
    if evidence.unmasked is None:
        return []
    return [
        AtypicalImage(one.image, one.label, one.name, one.masked, one.plain)
        for one in evidence.unmasked.atypical
    ]
