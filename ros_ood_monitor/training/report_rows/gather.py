"""Everything of a training report, in its order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.training.evidence import Evidence
from ros_ood_monitor.training.remarks import MANY_TWINS, remarks
from ros_ood_monitor.training.report.data import ReportData, TimingRow
from ros_ood_monitor.training.report_rows.frames import health_rows, sequence_rows, sheet
from ros_ood_monitor.training.report_rows.maps import map_examples, map_facts
from ros_ood_monitor.training.report_rows.precisions import (
    calibration_row,
    judged_on,
    precision_rows,
)
from ros_ood_monitor.training.report_rows.taps import candidate_rows, tap_report
from ros_ood_monitor.training.report_rows.unmask import (
    atypical_frames,
    unmask_detector,
    unmask_facts,
    unmask_rows,
)
from ros_ood_monitor.training.report_rows.wild import wild_facts, wild_rows

__all__ = ['report_data']


def report_data(bundle: Bundle, evidence: Evidence) -> ReportData:
    """
    Return what the report of a bundle shows.

    Parameters
    ----------
    bundle : Bundle
        As it was written.
    evidence : Evidence
        What the training found.

    Returns
    -------
    ReportData
        For `ros_ood_monitor.training.report.write_report`.

    """
    raw = bundle.manifest.raw
    training = raw['training']
    states = [shard.state for shard in evidence.table.shards]
    return ReportData(
        name=bundle.manifest.name,
        digest=bundle.digest,
        limits=_limits(training),
        warnings=_warnings(bundle, evidence),
        sequences=sequence_rows(evidence),
        skipped=[f'{name}: {reason}' for state in states for name, reason in state.skipped],
        missing=[line for state in states for line in state.missing],
        duplicates=training['frames']['near_duplicates'],
        distinct=evidence.repetition.distinct,
        shared=evidence.repetition.shared,
        data_sha256=training['data_sha256'],
        split=training['split'],
        sheet=sheet(evidence),
        health=health_rows(bundle),
        examples={kind: images[:1] for kind, images in evidence.pictures.pseudo.items()},
        backbone={**raw['backbone'], 'input': raw['input']},
        taps=[tap_report(evidence, row) for row in evidence.fitted],
        candidates=candidate_rows(evidence.choice),
        candidates_alone={} if evidence.choice is None else evidence.choice.alone,
        map_facts=map_facts(bundle, evidence),
        map_examples=map_examples(evidence),
        unmask_facts=unmask_facts(evidence.unmasked),
        unmask_aurocs=unmask_rows(evidence.unmasked),
        unmask_detector=unmask_detector(evidence.unmasked),
        atypical=atypical_frames(evidence),
        wild_facts=wild_facts(evidence.wild),
        wild_rows=wild_rows(evidence.wild),
        unit=bundle.manifest.unit,
        calibrations=[calibration_row(evidence, name) for name in bundle.manifest.precisions],
        precisions=precision_rows(evidence),
        judged_on=judged_on(evidence),
        timings=_timings(evidence),
        settings=training['settings'],
        versions=training['versions'],
        licences=raw['licences'],
    )


def _limits(training: Mapping[str, Any]) -> list[str]:
    frames = training['frames']
    limits = [f'False alerts per hour: {training["false_alarm_rate"]}.']
    limits.append(
        'Pseudo-OOD pictures are made from held-out frames and stand in for anomalies that '
        'nobody has seen; real ones need not look like any of them. They set no threshold.'
    )
    if 'choice' in training:
        limits.append(
            'Detector and taps were chosen on pseudo-OOD: its AUROCs flatter what was taken.'
        )
    if 0.0 < frames['held_out_twins'] <= MANY_TWINS:  # more is a warning
        limits.append(
            f'{frames["held_out_twins"]:.1%} of the held-out frames look like one that was '
            'fitted; their scores are those of known pictures.'
        )
    return limits


def _warnings(bundle: Bundle, evidence: Evidence) -> list[str]:
    states = [shard.state for shard in evidence.table.shards]
    lines = []
    for what, number in (
        ('frames did not decode and were left out', sum(len(state.skipped) for state in states)),
        (
            'files of bags are missing, damaged or out of order',
            sum(len(state.missing) for state in states),
        ),
    ):
        if number:
            lines.append(f'{number} {what}; they are named under Training data.')
    return lines + remarks(bundle, evidence)


def _timings(evidence: Evidence) -> list[TimingRow]:
    kept = len(evidence.table)
    left_out = sum(shard.state.near_duplicates for shard in evidence.table.shards)
    frames = {'extraction': kept, 'fit': len(evidence.split.fit)}
    held_out = len(evidence.split.calibration) + len(evidence.split.validation)
    frames |= dict.fromkeys(evidence.deployed, held_out)
    return [
        TimingRow(
            name,
            seconds,
            frames.get(name, 0),
            decoded=kept + left_out if name == 'extraction' else 0,
        )
        for name, seconds in evidence.seconds.items()
    ]
