"""The tables of an evaluation as cells of text."""

from __future__ import annotations

from collections.abc import Sequence
import math

from ros_ood_monitor.evaluation.images.evaluate import Evaluation
from ros_ood_monitor.evaluation.images.map_figures import MapFigures
from ros_ood_monitor.evaluation.images.pixels import NORMAL_SHARE, PixelRow
from ros_ood_monitor.metrics import Interval
from ros_ood_monitor.metrics.boxes import BoxHits

__all__ = ['measured', 'table_rows']

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


def table_rows(evaluation: Evaluation) -> list[list[Sequence[str]]]:
    """Return every table, its head as the first row."""
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
    for _, value, interval in measured(row):
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


def measured(row: PixelRow) -> list[tuple[str, float, Interval | None]]:
    """Return each figure's name, value and interval."""
    intervals = row.intervals or (None,) * len(row.metrics)
    return list(zip(row.metrics._fields, row.metrics, intervals, strict=True))
