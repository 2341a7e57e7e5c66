"""What a reader has to know of an evaluation: what it is of, and where its figures mislead."""

from __future__ import annotations

import math

from ros_ood_monitor.calibration import trigger_support, trigger_warning
from ros_ood_monitor.evaluation.images.evaluate import Evaluation
from ros_ood_monitor.evaluation.images.folders import LEAST_PICTURES, ScoredFolder
from ros_ood_monitor.evaluation.images.map_figures import MapFigures
from ros_ood_monitor.evaluation.images.pixels import NORMAL_SHARE, PixelEvaluation
from ros_ood_monitor.metrics.pixels import FPR_LIMIT

__all__ = ['note_lines', 'summary_lines']


def summary_lines(evaluation: Evaluation) -> list[str]:
    """Return what was evaluated on what."""
    bundle, engine, known = evaluation.bundle, evaluation.engine, evaluation.id_folder
    point = evaluation.calibration.operating_point
    return [
        f'bundle {bundle.manifest.name}, digest {bundle.digest[:12]}, '
        f'{engine["engine"]} {engine["version"]}, {engine["precision"]}',
        f'in-distribution: {known.name}, {len(known.files)} images, '
        f'{evaluation.id_over_trigger:.1%} over the trigger {evaluation.trigger:.4g} '
        f'({_set_for(evaluation)})',
        f'false alerts per hour, by the bundle: {point.rate_text}',
    ]


def _set_for(evaluation: Evaluation) -> str:
    if math.isnan(evaluation.alpha):
        return 'set for a rate of alerts and not for a share of frames'
    return f'set for {evaluation.alpha:.1%}'


def note_lines(evaluation: Evaluation) -> list[str]:
    """Return what its figures mean, and what speaks against them."""
    known = evaluation.id_folder
    notes = [
        'fpr95_id_positive: share of OOD accepted when 95 % of ID is accepted; '
        'fpr95_ood_positive: share of ID flagged when 95 % of OOD is flagged',
        'file size AUROC: what the file size alone would reach; far from 0.5, the folders also '
        'differ in format',
    ]
    if evaluation.pixels is not None:
        notes += _pixel_notes(evaluation.pixels)
    notes += evaluation.map_notes
    if evaluation.maps is not None:
        notes += _map_notes(evaluation.maps)
    notes += _interval_notes(evaluation)
    count = len(known.files)
    if _is_beyond_chance(evaluation.id_over_trigger, evaluation.alpha, count):
        notes.append(
            f'{known.name} exceeds the trigger more often than chance allows: these images are '
            'not drawn like the ones that the bundle was calibrated on'
        )
    notes += _lost_notes(evaluation)
    for folder in evaluation.ood_folders:
        if _commonest(folder) != _commonest(known):
            notes.append(
                f'picture sizes differ: {known.name} mostly {_commonest(known)}, '
                f'{folder.name} mostly {_commonest(folder)}'
            )
    for folder in (known, *evaluation.ood_folders):
        if str(folder.known):
            notes.append(f'{folder.name}: {folder.known}')
        if folder.skipped:
            named = '; '.join(f'{file} ({reason})' for file, reason in folder.skipped[:5])
            more = f' and {len(folder.skipped) - 5} more' if len(folder.skipped) > 5 else ''
            notes.append(f'{folder.name}: {len(folder.skipped)} skipped: {named}{more}')
    return notes


def _pixel_notes(pixels: PixelEvaluation) -> list[str]:
    notes = [
        f'pixels: maps against {pixels.truth}; AUPRO up to {FPR_LIMIT:.0%} of normal pixels; by '
        f'chance AUROC is 0.5, AP {pixels.overall.anomalous_share:.4f} and AUPRO '
        f'{FPR_LIMIT / 2.0:.2f}; intervals draw whole pictures'
    ]
    if pixels.truth == 'boxes':
        notes += [
            'a box is larger than what it surrounds: its pixel figures do not compare with those '
            'of masks',
            f'box hits at {NORMAL_SHARE:.0%}: share of boxes with a pixel over '
            f'{pixels.threshold:.4g}, which {NORMAL_SHARE:.0%} of normal pixels exceed: these '
            "pictures set it, it is not the robot's; by chance: the same for windows of the same "
            'sizes that touch no box',
        ]
    return notes


def _map_notes(maps: MapFigures) -> list[str]:
    threshold, alpha = maps.calibration.threshold, maps.calibration.alpha
    notes = [
        f"at the map's own threshold: {threshold:.4g}, the bundle's (set for {alpha:.1%} of "
        'in-distribution pictures with a region): the map as a robot shows it'
    ]
    if _is_beyond_chance(maps.known.with_region, alpha, maps.known.count):
        notes.append(
            f"{maps.known.name} is over the map's threshold more often than chance allows"
        )
    return notes


def _interval_notes(evaluation: Evaluation) -> list[str]:
    rows = (evaluation.overall, *evaluation.rows)
    pixels = () if evaluation.pixels is None else evaluation.pixels.rows
    notes = []
    if any(row.auroc_95 is None for row in rows) or any(row.intervals is None for row in pixels):
        notes.append(f'no interval with fewer than {LEAST_PICTURES} pictures of a class')
    if any(row.auroc_95 is not None and row.auroc_95.low == row.auroc_95.high for row in rows):
        notes.append(
            'an interval without width says that no two of these pictures overlap, not that no '
            'others would'
        )
    return notes


def _lost_notes(evaluation: Evaluation) -> list[str]:
    """Say where raw_score tells pictures apart and the operating point does not."""
    rows, known = evaluation.rows, evaluation.id_folder.name
    lost = [row for row in rows if row.is_lost_at_trigger]
    if not lost:
        return []
    calibration = evaluation.calibration
    held_out = calibration.raw_score.size
    why = trigger_warning(calibration) or (
        f'{trigger_support(calibration)[0]} of {held_out} held-out frames scored over the trigger'
    )
    return [
        f'{row.name} is separable (AUROC {row.auroc:.4f}; {1.0 - row.fpr95_id_positive:.1%} over '
        f'what 5% of {known} exceed), but the trigger finds {row.over_trigger:.1%}'
        for row in lost
    ] + [f'{why}; calibrate with more held-out frames, or on recorded sequences']


def _is_beyond_chance(share: float, alpha: float, count: int) -> bool:
    return share > alpha + 3.0 * math.sqrt(alpha * (1.0 - alpha) / count)


def _commonest(folder: ScoredFolder) -> str:
    return next(iter(folder.sizes))
