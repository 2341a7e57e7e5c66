"""The densities: one for each tap, and what they were chosen from."""

from __future__ import annotations

import numpy as np

from ros_ood_monitor.training.evidence import Evidence
from ros_ood_monitor.training.fitting.choice import Choice
from ros_ood_monitor.training.fitting.fitted_taps import FittedTap, scores
from ros_ood_monitor.training.report.data import CandidateRow, Look, TapReport

__all__ = ['candidate_rows', 'tap_report']


def tap_report(evidence: Evidence, row: FittedTap) -> TapReport:
    """Return how a density was fitted, and what it says."""
    columns = evidence.table.columns(row.tap)
    record = row.record
    held_out = row.normalization(evidence.table.of(row.tap, evidence.split.validation))
    of_held_out = scores(row.detector, held_out)
    far = {
        kind: scores(row.detector, row.normalization(np.ascontiguousarray(features[:, columns])))
        for kind, features in evidence.pictures.pseudo_rows(evidence.probes).items()
    }
    card = row.normalization.card()
    nan = float('nan')
    return TapReport(
        name=row.tap.name,
        channels=row.tap.channels,
        reduction=row.tap.reduction,
        density=record.density,
        normalization=card if isinstance(card, str) else f'radial, beta {card["beta"]:g}',
        step=record.step,
        steps=record.steps,
        standard_error=record.standard_error,
        looks=[
            Look(
                look.step,
                look.fit_nll,
                look.nll,
                nan if look.probe_auroc is None else look.probe_auroc,
            )
            for look in record.looks
        ],
        held_out=of_held_out,
        pseudo_ood=far,
        sources=of_held_out[evidence.source_places],
    )


def candidate_rows(choice: Choice | None) -> list[CandidateRow]:
    """Return what the detectors and taps were chosen from; empty where nobody asked."""
    if choice is None:
        return []
    return [
        CandidateRow(
            density=one.density,
            taps=one.taps,
            auroc=one.auroc,
            error=one.error,
            gain=one.gain,
            standard_error=one.standard_error,
            auroc_by_kind=one.auroc_by_kind,
            taken=one is choice.taken,
        )
        for one in choice.candidates
    ]
