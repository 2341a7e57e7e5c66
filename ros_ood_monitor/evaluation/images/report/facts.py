"""An evaluation for programs: everything as plain values."""

from __future__ import annotations

import json
from typing import Any

from ros_ood_monitor.calibration import trigger_support
from ros_ood_monitor.evaluation.images.evaluate import Evaluation, Row
from ros_ood_monitor.evaluation.images.folders import ScoredFolder
from ros_ood_monitor.evaluation.images.map_figures import MapFigures, MapRow
from ros_ood_monitor.evaluation.images.pixels import NORMAL_SHARE, PixelEvaluation, PixelRow
from ros_ood_monitor.evaluation.images.report.rows import measured
from ros_ood_monitor.json_values import finite
from ros_ood_monitor.metrics import Interval
from ros_ood_monitor.metrics.boxes import BoxHits
from ros_ood_monitor.metrics.pixels import FPR_LIMIT

__all__ = ['facts', 'to_json']


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
            **evaluation.calibration.operating_point.rate_card,
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
        **{f'{name}_95': _ends(interval) for name, _, interval in measured(row)},
    }
    if row.boxes is not None:
        found['boxes'] = _boxes(row.boxes)
    return found


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
