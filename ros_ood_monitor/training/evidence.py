"""What the training report shows, gathered from what the training found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.health import HealthLimits, MEASURES
from ros_ood_monitor.heatmap import Projection
from ros_ood_monitor.metrics import auroc, share_over
from ros_ood_monitor.overlay import ColourScale, overlay
from ros_ood_monitor.training.choice import Choice
from ros_ood_monitor.training.deployed import Deployed
from ros_ood_monitor.training.fitting import FittedTap, scores
from ros_ood_monitor.training.held_out_rate import HeldOutRate
from ros_ood_monitor.training.leaks import Repetition
from ros_ood_monitor.training.map_fit import FittedMap
from ros_ood_monitor.training.pictures import Pictures
from ros_ood_monitor.training.precisions import PrecisionVerdict
from ros_ood_monitor.training.remarks import MANY_TWINS, remarks
from ros_ood_monitor.training.report import (
    CalibrationRow,
    CandidateRow,
    HealthRow,
    Look,
    PrecisionRow,
    ReportData,
    SequenceRow,
    SheetImage,
    TapReport,
    TimingRow,
    WildRow,
)
from ros_ood_monitor.training.rows import spread
from ros_ood_monitor.training.split import Split
from ros_ood_monitor.training.table import FeatureTable
from ros_ood_monitor.training.wild import FittedWild, Flagged

__all__ = ['Evidence', 'report_data']

_SHEET = 48
_MAPS = 2


@dataclass(frozen=True, eq=False)
class Evidence:
    """
    What the training found.

    Parameters
    ----------
    table : FeatureTable
        All frames.
    sequences : sequence of str
        Names of the sequences.
    split : Split
        The three parts.
    repetition : Repetition
        How much of the data repeats itself.
    pictures : Pictures
        Kept network inputs, and pseudo-OOD.
    probes : ndarray of shape (m, width), float32
        Features of the pseudo-OOD pictures, kind after kind.
    fitted : sequence of FittedTap
        The detectors.
    choice : Choice or None
        Of what they were taken, where it was asked for.
    fitted_map : FittedMap or None
        What scores the map's cells, where there is a map.
    map_choice : mapping of str to float, or None
        AUROC of the cells of pseudo-defects by detector, where it was asked for.
    wild : FittedWild or None
        What wild frames taught, where there are any.
    deployed : mapping of str to Deployed
        Every precision, the reference first; refused ones too.
    verdicts : sequence of PrecisionVerdict
        Of all but the reference.
    seconds : mapping of str to float
        Wall time by part, in s.
    rates : mapping of str to HeldOutRate
        What held-out sequences say of false alerts per hour, by precision; empty where nobody
        asked.

    """

    table: FeatureTable
    sequences: Sequence[str]
    split: Split
    repetition: Repetition
    pictures: Pictures
    probes: npt.NDArray[np.float32]
    fitted: Sequence[FittedTap]
    choice: Choice | None
    fitted_map: FittedMap | None
    map_choice: Mapping[str, float] | None
    wild: FittedWild | None
    deployed: Mapping[str, Deployed]
    verdicts: Sequence[PrecisionVerdict]
    seconds: Mapping[str, float]
    rates: Mapping[str, HeldOutRate] = field(default_factory=dict)


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
        sequences=_sequences(evidence),
        skipped=[f'{name}: {reason}' for state in states for name, reason in state.skipped],
        missing=[line for state in states for line in state.missing],
        duplicates=training['frames']['near_duplicates'],
        distinct=evidence.repetition.distinct,
        shared=evidence.repetition.shared,
        data_sha256=training['data_sha256'],
        split=training['split'],
        sheet=_sheet(evidence),
        health=_health(bundle),
        examples={kind: images[:1] for kind, images in evidence.pictures.pseudo.items()},
        backbone={**raw['backbone'], 'input': raw['input']},
        taps=[_tap(evidence, row) for row in evidence.fitted],
        candidates=_candidates(evidence.choice),
        candidates_alone={} if evidence.choice is None else evidence.choice.alone,
        map_facts=_map_facts(bundle, evidence),
        map_examples=_map_examples(evidence),
        wild_facts=_wild_facts(evidence.wild),
        wild_rows=_wild_rows(evidence.wild),
        unit=bundle.manifest.unit,
        calibrations=[
            _calibration(evidence.deployed[name]) for name in bundle.manifest.precisions
        ],
        precisions=_precisions(evidence),
        judged_on=_judged_on(evidence),
        timings=_timings(evidence),
        settings=training['settings'],
        versions=training['versions'],
        licences=raw['licences'],
    )


def _limits(training: Mapping[str, Any]) -> list[str]:
    frames = training['frames']
    limits = [f'False-alarm rate: {training["false_alarm_rate"]}.']
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


def _calibration(deployed: Deployed) -> CalibrationRow:
    point = deployed.calibration.operating_point
    return CalibrationRow(
        precision=deployed.precision,
        raw_score=deployed.raw_score,
        raw_score_pseudo_ood=deployed.pseudo_score,
        trigger=point.trigger,
        release=point.release,
        alpha=point.alpha,
    )


def _sequences(evidence: Evidence) -> list[SequenceRow]:
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


def _sheet(evidence: Evidence) -> list[SheetImage]:
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


def _health(bundle: Bundle) -> list[HealthRow]:
    table = bundle.manifest.health
    assert table is not None  # every training makes one
    limits = HealthLimits.from_table(table)
    return [
        HealthRow(name, table[name][0], table[name][2], table[name][-1], limits.passes(name))
        for name in MEASURES
    ]


def _tap(evidence: Evidence, row: FittedTap) -> TapReport:
    columns = evidence.table.columns(row.tap)
    record = row.record
    held_out = row.normalization(evidence.table.of(row.tap, evidence.split.validation))
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
        held_out=scores(row.detector, held_out),
        pseudo_ood=far,
    )


def _map_facts(bundle: Bundle, evidence: Evidence) -> dict[str, Any]:
    if evidence.fitted_map is None:
        return {}
    facts = bundle.manifest.raw['map']
    calibration = bundle.calibration().map
    assert calibration is not None
    card = bundle.manifest.raw['training']['map']
    height, width = facts['grid']
    return {
        'density': facts['density'],
        'stages': ', '.join(tap['name'] for tap in facts['taps']),
        'cells': f'{width} x {height}',
        'unit': bundle.manifest.raw['outputs']['patch_score']['unit'],
        'normal (median of held-out cells)': f'{calibration.normal:.3f}',
        f'threshold ({calibration.alpha:g} of frames have a cell over it)': (
            f'{calibration.threshold:.3f}'
        ),
        'fitted to': f'{card["cells"]} cells',
        'normal at each place by': f'{card["statistics_frames"]} validation frames',
        **({'auroc of pasted defects, by cell': card['auroc']} if 'auroc' in card else {}),
    }


def _wild_facts(wild: FittedWild | None) -> dict[str, Any]:
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


def _wild_rows(wild: FittedWild | None) -> list[WildRow]:
    if wild is None:
        return []

    def row(one: Flagged) -> WildRow:
        return WildRow(one.density, *one.known, *one.wild, auroc_by_kind=one.auroc_by_kind)

    return [row(wild.beside), row(wild.head)]


def _map_examples(evidence: Evidence) -> dict[str, npt.NDArray[np.uint8]]:
    """Return some held-out frames, and the same with pasted defects, under their maps."""
    if evidence.fitted_map is None:
        return {}
    pictures = evidence.pictures
    some = {'held-out': pictures.sources} | pictures.near(seed=0)
    return {
        kind: _under_maps(evidence.deployed['fp32'], images[spread(len(images), _MAPS)])
        for kind, images in some.items()
    }


def _under_maps(deployed: Deployed, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    _, maps = deployed.score(images)
    calibration = deployed.calibration.map
    assert maps is not None
    assert calibration is not None
    size, grid = images.shape[1:3], maps.shape[1:]
    project = Projection(np.eye(3), image_size=size, input_size=size, grid_size=grid)
    scale = ColourScale(calibration.normal, calibration.threshold)
    return np.stack(
        [overlay(image, project(cells), scale) for image, cells in zip(images, maps, strict=True)]
    )


def _candidates(choice: Choice | None) -> list[CandidateRow]:
    if choice is None:
        return []
    return [
        CandidateRow(
            density=one.density,
            taps=one.taps,
            auroc=one.auroc,
            gain=one.gain,
            standard_error=one.standard_error,
            auroc_by_kind=one.auroc_by_kind,
            taken=one is choice.taken,
        )
        for one in choice.candidates
    ]


def _precisions(evidence: Evidence) -> list[PrecisionRow]:
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


def _judged_on(evidence: Evidence) -> str:
    if not evidence.verdicts:
        return ''
    pictures = max(map(len, evidence.deployed['fp32'].gate_score.values()), default=0)
    validation, calibration = len(evidence.split.validation), len(evidence.split.calibration)
    return (
        f'Errors and shares on {validation} validation frames, which neither fitted nor '
        f'calibrated; AUROC on them and the {calibration} calibration frames, against {pictures} '
        'pictures of each kind.'
    )


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
