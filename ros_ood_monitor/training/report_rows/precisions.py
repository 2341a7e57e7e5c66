"""The precisions: thresholds, errors and what each still tells apart."""

from __future__ import annotations

import numpy as np

from ros_ood_monitor.metrics import auroc, share_over
from ros_ood_monitor.training.evidence import Evidence
from ros_ood_monitor.training.held_out.deployed import Deployed
from ros_ood_monitor.training.report.data import CalibrationRow, PrecisionRow

__all__ = ['calibration_row', 'judged_on', 'precision_rows']


def calibration_row(evidence: Evidence, precision: str) -> CalibrationRow:
    """Return the scores and the thresholds of a precision."""
    deployed = evidence.deployed[precision]
    point = deployed.calibration.operating_point
    return CalibrationRow(
        precision=deployed.precision,
        raw_score=deployed.raw_score,
        raw_score_pseudo_ood=deployed.pseudo_score,
        trigger=point.trigger,
        release=point.release,
        alpha=point.alpha,
        raw_score_sources=deployed.validation_score[evidence.source_places],
    )


def precision_rows(evidence: Evidence) -> list[PrecisionRow]:
    """Return every precision, the reference first; empty where there is but one."""
    if not evidence.verdicts:
        return []
    reference = evidence.deployed['fp32']
    rows = [
        PrecisionRow(
            'fp32',
            len(reference.backbone),
            share_over=share_over(
                reference.validation_score, reference.calibration.operating_point.trigger
            ),
            auroc_by_kind=_auroc_by_kind(reference),
        )
    ]
    for verdict in evidence.verdicts:
        rows.append(
            PrecisionRow(
                precision=verdict.precision,
                size_bytes=len(evidence.deployed[verdict.precision].backbone),
                error_mean=verdict.error_mean,
                error_p99=verdict.error_p99,
                error_max=verdict.error_max,
                share_over=verdict.share_over,
                share_change=verdict.share_change,
                auroc_by_kind=_auroc_by_kind(evidence.deployed[verdict.precision]),
                accepted=verdict.ok,
                word=verdict.word,
                reason=verdict.reason,
            )
        )
    return rows


def _auroc_by_kind(deployed: Deployed) -> dict[str, float]:
    held_out = deployed.for_gate().in_distribution
    return {
        kind: auroc(held_out, scores)
        if np.isfinite(held_out).all() and np.isfinite(scores).all()
        else float('nan')
        for kind, scores in deployed.gate_score.items()
    }


def judged_on(evidence: Evidence) -> str:
    """Return what precisions were compared on; empty where there is but one."""
    if not evidence.verdicts:
        return ''
    pictures = max(map(len, evidence.deployed['fp32'].gate_score.values()), default=0)
    validation, calibration = len(evidence.split.validation), len(evidence.split.calibration)
    return (
        f'Errors and shares on {validation} validation frames, which neither fitted nor '
        f'calibrated; AUROC on them and the {calibration} calibration frames, against {pictures} '
        'pictures of each kind.'
    )
