"""What the frames' labels did to the backbone, as rows of the report."""

from __future__ import annotations

from typing import Any

from ros_ood_monitor.training.evidence import Evidence
from ros_ood_monitor.training.labels.unmasked import Unmasked
from ros_ood_monitor.training.report.data import AtypicalImage, UnmaskRow

__all__ = ['atypical_frames', 'unmask_detector', 'unmask_facts', 'unmask_rows']


def unmask_facts(unmasked: Unmasked | None) -> dict[str, Any]:
    """Return the facts beside the tables; none where no label was used."""
    if unmasked is None:
        return {}
    card = unmasked.card()
    del card['auroc']
    card.get('detector', {}).pop('auroc', None)
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


def unmask_detector(unmasked: Unmasked | None) -> UnmaskRow | None:
    """Return what the bundle's detector reaches with the pretrained backbone and with its own."""
    if unmasked is None or unmasked.detector is None:
        return None
    gain = unmasked.detector
    before, after = ({'near': area} for area in gain.near)
    return UnmaskRow('detector', before | {**gain.before}, after | {**gain.after})


def atypical_frames(evidence: Evidence) -> list[AtypicalImage]:
    """Return the fitted frames that stand out, the largest masked loss first."""
    if evidence.unmasked is None:
        return []
    return [
        AtypicalImage(one.image, one.label, one.name, one.masked, one.plain)
        for one in evidence.unmasked.atypical
    ]
