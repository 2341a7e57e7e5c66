"""The manifest of a trained bundle, with the card of its training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import datetime as dt
import importlib.metadata
from typing import Any

from ros_ood_monitor.preprocess import Preprocessor, RESIZE_RULE
from ros_ood_monitor.training.backbones import Backbone, BackboneTap
from ros_ood_monitor.training.datasets import Dataset
from ros_ood_monitor.training.fit import FitRecord
from ros_ood_monitor.training.split import Split

__all__ = ['make_manifest', 'training_card']

_NAMED = 20
_LIBRARIES = ('torch', 'nflows', 'timm', 'scikit-learn', 'onnx', 'onnxscript', 'onnxruntime')


def make_manifest(
    *,
    name: str,
    backbone: Backbone,
    taps: Sequence[BackboneTap],
    records: Sequence[FitRecord],
    preprocess: Preprocessor,
    tolerance: tuple[float, float],
    training: Mapping[str, Any],
    data_licence: str,
) -> dict[str, Any]:
    """
    Return the manifest without ``format`` and ``digests``.

    Parameters
    ----------
    name : str
        Of the bundle.
    backbone, taps, records, preprocess
        What was trained.
    tolerance : tuple of float
        Absolute and relative, of goldens on raw_score.
    training : mapping
        From `training_card`.
    data_licence : str
        What may be done with the training data.

    Returns
    -------
    dict
        Plain values only.

    """
    now = dt.datetime.now(dt.timezone.utc).replace(microsecond=0)
    return {
        'name': name,
        'created': now.isoformat().replace('+00:00', 'Z'),
        'input': {
            'height': preprocess.height,
            'width': preprocess.width,
            'color': 'rgb',
            'resize': RESIZE_RULE,
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
            'normalization': 'l2',
            'taps': [
                {
                    'name': tap.name,
                    'output': tap.output,
                    'channels': tap.channels,
                    'reduction': tap.reduction,
                    'density': record.density,
                }
                for tap, record in zip(taps, records, strict=True)
            ],
        },
        'outputs': {
            'raw_score': {'unit': 'z (sum over taps)', 'direction': 'higher = more anomalous'}
        },
        'precisions': ['fp32'],
        'verify': {'absolute': tolerance[0], 'relative': tolerance[1]},
        'training': dict(training),
        'licences': {'code': 'Apache-2.0', 'weights': backbone.licence, 'data': data_licence},
    }


def training_card(
    *,
    dataset: Dataset,
    split: Split,
    data_sha256: str,
    settings: Mapping[str, Any],
    taps: Sequence[BackboneTap],
    records: Sequence[FitRecord],
    standards: Sequence[tuple[float, float]],
) -> dict[str, Any]:
    """
    Return what a reader must know about the training: data, split, settings, fits, limits.

    Parameters
    ----------
    dataset : Dataset
        After its frames were read.
    split : Split
        The three parts.
    data_sha256 : str
        Digest of all network inputs.
    settings : mapping
        Every setting that changes the result.
    taps, records, standards
        What was fitted, with mean and deviation of the held-out nll.

    Returns
    -------
    dict
        Plain values only; no time, no place on disk.

    """
    parts = (split.fit, split.validation, split.calibration)
    return {
        'sequences': _shortened(dataset.sequences),
        'frames': {
            'used': sum(len(part) for part in parts),
            'fit': len(parts[0]),
            'validation': len(parts[1]),
            'calibration': len(parts[2]),
            'skipped': len(dataset.skipped),
        },
        'skipped_frames': _shortened([f'{s.name}: {s.reason}' for s in dataset.skipped]),
        'missing_files': _shortened(dataset.missing),
        'split': split.rule,
        'data_sha256': data_sha256,
        'settings': dict(settings),
        'taps': {
            tap.name: {
                'shrinkage': None if record.gaussian is None else record.gaussian.shrinkage,
                'step': record.step,
                'steps_made': record.steps,
                'nll_at_start': round(record.nll_at_start, 4),
                'nll': round(record.nll, 4),
                'nll_mean': standard[0],
                'nll_std': standard[1],
                'curve': [[step, round(nll, 3)] for step, nll in record.curve],
                'fit_curve': [[step, round(nll, 3)] for step, nll in record.fit_curve],
            }
            for tap, record, standard in zip(taps, records, standards, strict=True)
        },
        'false_alarm_rate': (
            'not established: thresholds are quantiles of held-out frames, and frames of a video '
            'are not independent'
        ),
        'versions': {name: _version(name) for name in _LIBRARIES},
    }


def _shortened(names: Sequence[str]) -> list[str]:
    more = len(names) - _NAMED
    return [*names[:_NAMED], *([f'and {more} more'] if more > 0 else [])]


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return 'unknown'
