"""The manifest of a trained bundle: what it takes, what is scored, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
import datetime as dt
from typing import Any

from ros_ood_monitor.bundle.manifest import Tolerance
from ros_ood_monitor.preprocess import Preprocessor, RESIZE_RULE
from ros_ood_monitor.training.backbones import Backbone, tiles_of
from ros_ood_monitor.training.fitting.fitted_taps import FittedTap
from ros_ood_monitor.training.maps.fit import FittedMap

__all__ = ['make_manifest']


def make_manifest(
    *,
    name: str,
    backbone: Backbone,
    fitted: Sequence[FittedTap],
    fitted_map: FittedMap | None,
    preprocess: Preprocessor,
    tolerances: Mapping[str, Tolerance],
    health: Mapping[str, Any],
    training: Mapping[str, Any],
    data_licence: str,
) -> dict[str, Any]:
    """
    Return the manifest without ``format`` and ``digests``.

    Parameters
    ----------
    name : str
        Of the bundle.
    backbone, fitted, fitted_map, preprocess
        What was trained.
    tolerances : mapping of str to Tolerance
        Of goldens, by precision; the first one is the default.
    health : mapping
        From `health_table`.
    training : mapping
        From `training_card`.
    data_licence : str
        What may be done with the training data.

    Returns
    -------
    dict
        Plain values only.

    """
    tiles = tiles_of(backbone)
    now = dt.datetime.now(dt.timezone.utc).replace(microsecond=0)
    return {
        'name': name,
        'created': now.isoformat().replace('+00:00', 'Z'),
        'input': {
            'height': preprocess.height,
            'width': preprocess.width,
            'color': 'rgb',
            'resize': RESIZE_RULE,
            **({} if tiles.count == 1 else {'tiles': [tiles.rows, tiles.columns]}),
            'mean': list(backbone.mean),
            'std': list(backbone.std),
        },
        'backbone': {
            'name': backbone.name,
            'weights': backbone.weights,
            'weights_sha256': backbone.weights_sha256,
        },
        'features': {
            'pooling': 'mean',
            'taps': [
                {
                    'name': row.tap.name,
                    'output': row.tap.output,
                    'channels': row.tap.channels,
                    'reduction': row.tap.reduction,
                    'normalization': row.normalization.card(),
                    'density': row.record.density,
                }
                for row in fitted
            ],
        },
        **({} if fitted_map is None else {'map': _map_facts(fitted_map)}),
        'outputs': _outputs(fitted_map, fitted[0].record.density),
        'precisions': list(tolerances),
        'verify': _verify(tolerances, with_map=fitted_map is not None),
        'health': dict(health),
        'training': dict(training),
        'licences': {'code': 'Apache-2.0', 'weights': backbone.licence, 'data': data_licence},
    }


def _outputs(fitted_map: FittedMap | None, density: str) -> dict[str, Any]:
    direction = {'direction': 'higher = more anomalous'}
    parts = 'taps' if fitted_map is None else 'taps and the map'
    unit = 'logit (of being wild)' if density == 'woods' else f'z (sum over {parts})'
    if fitted_map is None:
        return {'raw_score': {'unit': unit, **direction}}
    return {
        'raw_score': {'unit': unit, **direction},
        'patch_score': {'unit': 'z (of a cell at its place)', **direction},
    }


def _map_facts(fitted: FittedMap) -> dict[str, Any]:
    return {
        'taps': [
            {
                'name': tap.name,
                'output': tap.output,
                'channels': tap.channels,
                'reduction': tap.reduction,
                'normalization': normalization.card(),
            }
            for tap, normalization in zip(
                fitted.plan.taps, fitted.cells.normalizations, strict=True
            )
        ],
        'grid': list(fitted.plan.grid),
        'density': fitted.record.density,
    }


def _verify(tolerances: Mapping[str, Tolerance], *, with_map: bool) -> dict[str, Any]:
    default, *others = tolerances
    pairs = {
        precision: {
            key: value
            for key, value in asdict(tolerance).items()
            if with_map or key != 'map_absolute'
        }
        for precision, tolerance in tolerances.items()
    }
    return pairs[default] | {precision: pairs[precision] for precision in others}
