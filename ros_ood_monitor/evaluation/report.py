"""An evaluation for people (text, Markdown) and for programs (JSON)."""

from __future__ import annotations

from collections.abc import Sequence
import json
import math
from pathlib import Path
from typing import Any

from ros_ood_monitor.atomic import new_file
from ros_ood_monitor.calibration import OperatingPoint, trigger_support, trigger_warning
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.evaluate import Evaluation, Row
from ros_ood_monitor.evaluation.folders import LEAST_PICTURES, ScoredFolder
from ros_ood_monitor.evaluation.map_figures import MapFigures, MapRow
from ros_ood_monitor.evaluation.pixels import NORMAL_SHARE, PixelEvaluation, PixelRow
from ros_ood_monitor.json_values import finite
from ros_ood_monitor.metrics import Interval
from ros_ood_monitor.metrics.boxes import BoxHits
from ros_ood_monitor.metrics.pixels import FPR_LIMIT

__all__ = ['facts', 'markdown', 'markdown_table', 'text_table', 'to_json', 'to_text', 'write_text']

_PIXEL_HEAD = (
    'pixels', 'n', 'regions', 'AUROC', '95 % interval', 'AP', '95 % interval', 'AUPRO',
    '95 % interval',
)  # fmt: skip
_BOX_HEAD = ('box hits', 'by chance')
_PIXEL_BOX_HEAD = (f'box hits at {NORMAL_SHARE:.0%}', 'by chance')
_MAP_HEAD = ("at the map's own threshold", 'n', 'with a region')
_HEAD = (
    'OOD folder', 'n', 'AUROC', '95 % interval', 'AUPR', 'fpr95_id_positive',
    'fpr95_ood_positive', 'over trigger', 'file size AUROC',
)  # fmt: skip


def facts(evaluation: Evaluation) -> dict[str, Any]:
    """
    Return everything an evaluation found, as plain values.

    Parameters
    ----------
    evaluation : Evaluation
        What `evaluate` found.

    Returns
    -------
    dict
        Serialisable as JSON; with the score of every image.

    """
    bundle = evaluation.bundle
    return {
        'bundle': {
            'name': bundle.manifest.name,
            'digest': bundle.digest,
            'unit': bundle.manifest.unit,
        },
        'engine': evaluation.engine,
        'operating_point': {
            'trigger': evaluation.trigger,
            'alpha': finite(evaluation.alpha),
            **_point(evaluation).rate_card,
            'id_over_trigger': evaluation.id_over_trigger,
            'held_out': evaluation.calibration.raw_score.size,
            'held_out_over_trigger': trigger_support(evaluation.calibration)[0],
        },
        'bootstrap': {'seed': evaluation.seed, 'resamples': evaluation.resamples},
        'image': _image(evaluation.overall, len(evaluation.id_folder.files)),
        **({} if evaluation.pixels is None else {'pixel': _pixel(evaluation.pixels)}),
        **({} if evaluation.maps is None else {'map': _map(evaluation.maps)}),
        'rows': [
            {**vars(row), 'auroc_95': _ends(row.auroc_95), 'aupr_95': _ends(row.aupr_95)}
            for row in evaluation.rows
        ],
        'id_folder': _folder(evaluation.id_folder),
        'ood_folders': [_folder(folder) for folder in evaluation.ood_folders],
    }


def _image(row: Row, count: int) -> dict[str, Any]:
    named = {**vars(row), 'ap': row.aupr, 'ap_95': _ends(row.aupr_95)}
    named['auroc_95'] = _ends(row.auroc_95)
    del named['name'], named['count'], named['aupr'], named['aupr_95']
    return {'id_images': count, 'ood_images': row.count, **named}


def _pixel(pixels: PixelEvaluation) -> dict[str, Any]:
    return {
        'truth': pixels.truth,
        'fpr_limit': FPR_LIMIT,
        'threshold': pixels.threshold,
        'normal_share_over': NORMAL_SHARE,
        **_pixel_row(pixels.overall),
        'rows': [{'name': row.name, **_pixel_row(row)} for row in pixels.rows],
    }


def _pixel_row(row: PixelRow) -> dict[str, Any]:
    found: dict[str, Any] = {
        'ood_images': row.images,
        'regions': row.regions,
        'anomalous_share': row.anomalous_share,
        **row.metrics._asdict(),
        **{f'{name}_95': _ends(interval) for name, _, interval in _measured(row)},
    }
    if row.boxes is not None:
        found['boxes'] = _boxes(row.boxes)
    return found


def _measured(row: PixelRow) -> list[tuple[str, float, Interval | None]]:
    """Return each figure's name, value and interval."""
    intervals = row.intervals or (None,) * len(row.metrics)
    return list(zip(row.metrics._fields, row.metrics, intervals, strict=True))


def _map(maps: MapFigures) -> dict[str, Any]:
    rows = [(row, {'images': row.count, 'with_region': row.with_region}) for row in maps.rows]
    return {
        **vars(maps.calibration),
        'id_with_region': maps.known.with_region,
        'ood_with_region': maps.overall.with_region,
        **_hits(maps.overall),
        'rows': [{'name': row.name, **found, **_hits(row)} for row, found in rows],
    }


def _hits(row: MapRow) -> dict[str, Any]:
    return {} if row.boxes is None else {'boxes': _boxes(row.boxes)}


def _boxes(boxes: BoxHits) -> dict[str, Any]:
    return {**vars(boxes), 'chance': finite(boxes.chance)}


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _folder(folder: ScoredFolder) -> dict[str, Any]:
    return {
        'name': folder.name,
        'count': len(folder.files),
        'sizes': folder.sizes,
        'skipped': [skipped._asdict() for skipped in folder.skipped],
        'trained_on': folder.known.known,
        'raw_score': dict(zip(folder.files, folder.raw_score.tolist(), strict=True)),
    }


def to_json(evaluation: Evaluation) -> str:
    """Return `facts` as JSON text."""
    return json.dumps(facts(evaluation), indent=1, allow_nan=False) + '\n'


def to_text(evaluation: Evaluation) -> str:
    """
    Return an evaluation as text for a terminal.

    Parameters
    ----------
    evaluation : Evaluation
        What `evaluate` found.

    Returns
    -------
    str
        A head, tables with a line for each out-of-distribution folder, and notes.

    """
    tables = '\n\n'.join(text_table(rows) for rows in _tables(evaluation))
    return '\n'.join([*_summary(evaluation), '', tables, '', *_notes(evaluation)]) + '\n'


def markdown(evaluation: Evaluation) -> str:
    """
    Return an evaluation as Markdown.

    Parameters
    ----------
    evaluation : Evaluation
        What `evaluate` found.

    Returns
    -------
    str
        A heading, the tables and the notes.

    """
    tables = '\n\n'.join(markdown_table(rows) for rows in _tables(evaluation))
    summary = '\n'.join(f'- {line}' for line in _summary(evaluation))
    notes = '\n'.join(f'- {line}' for line in _notes(evaluation))
    title = f'# Evaluation of {evaluation.bundle.manifest.name}'
    return f'{title}\n\n{summary}\n\n{tables}\n\n{notes}\n'


def _summary(evaluation: Evaluation) -> list[str]:
    bundle, engine, known = evaluation.bundle, evaluation.engine, evaluation.id_folder
    return [
        f'bundle {bundle.manifest.name}, digest {bundle.digest[:12]}, '
        f'{engine["engine"]} {engine["version"]}, {engine["precision"]}',
        f'in-distribution: {known.name}, {len(known.files)} images, '
        f'{evaluation.id_over_trigger:.1%} over the trigger {evaluation.trigger:.4g} '
        f'({_set_for(evaluation)})',
        f'false-alarm rate that the bundle states: {_point(evaluation).rate_text}',
    ]


def _point(evaluation: Evaluation) -> OperatingPoint:
    return evaluation.calibration.operating_point


def _set_for(evaluation: Evaluation) -> str:
    if math.isnan(evaluation.alpha):
        return 'set for a rate of alerts and not for a share of frames'
    return f'set for {evaluation.alpha:.1%}'


def _tables(evaluation: Evaluation) -> list[list[Sequence[str]]]:
    tables: list[list[Sequence[str]]] = [[_HEAD, *_cells(evaluation)]]
    pixels = evaluation.pixels
    if pixels is not None:
        head = _PIXEL_HEAD if pixels.overall.boxes is None else (*_PIXEL_HEAD, *_PIXEL_BOX_HEAD)
        rows = pixels.rows if len(pixels.rows) == 1 else (*pixels.rows, pixels.overall)
        tables.append([head, *map(_pixel_cells, rows)])
    if evaluation.maps is not None:
        tables.append(_map_table(evaluation.maps))
    return tables


def _map_table(maps: MapFigures) -> list[Sequence[str]]:
    boxed = maps.overall.boxes is not None
    others = maps.rows if len(maps.rows) == 1 else (*maps.rows, maps.overall)
    table: list[Sequence[str]] = [(*_MAP_HEAD, *_BOX_HEAD) if boxed else _MAP_HEAD]
    for row in (maps.known, *others):
        cells = [row.name, str(row.count), f'{row.with_region:.1%}']
        if boxed:
            cells += ['-', '-'] if row.boxes is None else _box_cells(row.boxes)
        table.append(cells)
    return table


def _box_cells(boxes: BoxHits) -> list[str]:
    chance = f'{boxes.chance:.1%}' if math.isfinite(boxes.chance) else '-'
    return [f'{boxes.rate:.1%} of {boxes.count}', chance]


def _interval(interval: Interval | None) -> str:
    return '-' if interval is None else f'{interval.low:.4f} to {interval.high:.4f}'


def _pixel_cells(row: PixelRow) -> list[str]:
    cells = [row.name, str(row.images), str(row.regions)]
    for _, value, interval in _measured(row):
        cells += [f'{value:.4f}', _interval(interval)]
    return cells if row.boxes is None else [*cells, *_box_cells(row.boxes)]


def _cells(evaluation: Evaluation) -> list[list[str]]:
    several = len(evaluation.rows) > 1
    return [
        [
            row.name,
            str(row.count),
            f'{row.auroc:.4f}',
            _interval(row.auroc_95),
            f'{row.aupr:.4f}',
            f'{row.fpr95_id_positive:.3f}',
            f'{row.fpr95_ood_positive:.3f}',
            f'{row.over_trigger:.1%}',
            f'{row.file_size_auroc:.3f}',
        ]
        for row in (*evaluation.rows, *([evaluation.overall] if several else []))
    ]


def _notes(evaluation: Evaluation) -> list[str]:
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


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """
    Align columns: the first to the left, the others to the right.

    Parameters
    ----------
    rows : sequence of sequence of str
        Cells; the first row is the head.

    Returns
    -------
    str
        A line for each row.

    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join(
            cell.rjust(width) if k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """
    Return a Markdown table: the first column to the left, the others to the right.

    Parameters
    ----------
    rows : sequence of sequence of str
        Cells; the first row is the head.

    Returns
    -------
    str
        A line for each row, and the rule under the head.

    """
    ruled = [rows[0], ['---', *['---:'] * (len(rows[0]) - 1)], *rows[1:]]
    return '\n'.join(f'| {" | ".join(row)} |' for row in ruled)


def write_text(path: str | Path, text: str) -> None:
    """
    Write a file that is there whole or not at all.

    Parameters
    ----------
    path : str or Path
        Target; one that is there is replaced.
    text : str
        Its content.

    Raises
    ------
    ParameterError
        If it cannot be written; what was there before is still there.

    """
    try:
        with new_file(Path(path)) as aside:
            aside.write_text(text, encoding='utf-8')
    except OSError as error:
        msg = f'result could not be written ({error.strerror or error}): {path}'
        raise ParameterError(msg) from error
