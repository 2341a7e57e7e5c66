"""``ood_monitor benchmark``: how backbones and their taps compare on folders of pictures."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import dataclasses
import json
import statistics
import time
from typing import Any, TYPE_CHECKING

from ros_ood_monitor.cli.arguments import at_least, names

if TYPE_CHECKING:
    from ros_ood_monitor.training.study.detectors import Separation
    from ros_ood_monitor.training.study.labelled import Pictures
    from ros_ood_monitor.training.study.ranks import RankCorrelation
    from ros_ood_monitor.training.study.study import Point, Study

__all__ = ['STUDIES', 'add_parser', 'run']

STUDIES = ('tolerance-uniformity',)

_NOTES = (
    'tolerance: mean over classes of the mean cosine of two pictures of a class; '
    'uniformity: -log mean exp(-2 |fi - fj|^2), higher = more even (minus the loss of Wang and '
    'Isola); both of features of unit length',
    'AUROC: mean over splits, +- the deviation between splits; far from the fit part is OOD, '
    'fixed beforehand; fpr95 ID: fpr95_id_positive, fpr95 OOD: fpr95_ood_positive',
    'rank correlations describe these points only: taps of one backbone are not independent and '
    'all points see the same pictures, so no significance is given',
)


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'benchmark',
        help='compare backbones and taps before training',
        description='Computes tolerance and uniformity of the features of several backbones and '
        'taps beside the AUROC of two detectors that need no labels and no training. '
        'For speed see `ood_monitor bench`.',
    )
    parser.add_argument(
        '--study', required=True, choices=STUDIES, help='what is computed: tolerance-uniformity'
    )
    parser.add_argument(
        '--data',
        required=True,
        metavar='DIR',
        help='in-distribution pictures, a folder for each class; without such folders there is '
        'no tolerance',
    )
    parser.add_argument(
        '--ood', required=True, nargs='+', metavar='DIR', help='out-of-distribution pictures'
    )
    parser.add_argument(
        '--backbones', required=True, type=names, metavar='A,B,...', help='names of backbones'
    )
    parser.add_argument(
        '--taps', type=names, default='all', metavar='A,B,...', help='taps (default: all)'
    )
    parser.add_argument(
        '--fit-data',
        metavar='DIR',
        help='in-distribution pictures to fit to; all of --data is then tested '
        '(default: 70 %% of --data, the rest is tested)',
    )
    parser.add_argument(
        '--limit',
        type=at_least(2),
        metavar='N',
        help='take N pictures of each folder at most, evenly spread (default: all)',
    )
    parser.add_argument(
        '--splits',
        type=at_least(1),
        default=5,
        metavar='N',
        help='how often --data is split anew (default: 5)',
    )
    parser.add_argument(
        '--seed', type=at_least(0), default=0, metavar='N', help='of the splits (default: 0)'
    )
    parser.add_argument(
        '--threads', type=at_least(1), default=1, metavar='N', help='CPU threads (default: 1)'
    )
    parser.add_argument('--quiet', action='store_true', help='show no progress')
    parser.add_argument('--out', required=True, metavar='FILE', help='write all figures there')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Study, write the file and print the tables."""
    from ros_ood_monitor.atomic import check_output

    out = check_output(args.out)

    from ros_ood_monitor.evaluation.speed.machine import context
    from ros_ood_monitor.evaluation.tables import write_text
    from ros_ood_monitor.training.progress import Progress
    from ros_ood_monitor.training.study.ranks import correlate
    from ros_ood_monitor.training.study.study import FIT_SHARE, study_backbones

    before, started = context(), time.perf_counter()
    study = study_backbones(
        args.data,
        args.ood,
        args.backbones,
        taps=args.taps,
        fit_data=args.fit_data,
        limit=args.limit or 0,
        splits=args.splits,
        seed=args.seed,
        threads=args.threads,
        progress=Progress(quiet=args.quiet),
    )
    correlations = correlate(study.points)
    settings = {
        'taps': args.taps,
        'limit': args.limit,
        'fit_share': None if args.fit_data else FIT_SHARE,
        'seed': args.seed,
        'threads': args.threads,
    }
    facts = _facts(study, correlations, settings, before)
    facts['seconds'] = round(time.perf_counter() - started, 1)
    write_text(out, json.dumps(facts, indent=1, allow_nan=False) + '\n')
    print('\n'.join(_lines(study, correlations)))
    return 0


def _facts(
    study: Study,
    correlations: list[RankCorrelation],
    settings: dict[str, Any],
    context: dict[str, Any],
) -> dict[str, Any]:
    return {
        'study': STUDIES[0],
        'notes': list(_NOTES),
        'settings': settings,
        'splits': [{'fit': fit, 'test': test} for fit, test in study.splits],
        'folders': {
            'data': _folder(study.known),
            'fit_data': _folder(study.fit) if study.fit else None,
            'ood': {name: _folder(pictures) for name, pictures in study.ood.items()},
        },
        'backbones': study.backbones,
        'points': [dataclasses.asdict(point) for point in study.points],
        'rank_correlations': [dataclasses.asdict(row) for row in correlations],
        'context': context,
    }


def _folder(pictures: Pictures) -> dict[str, Any]:
    return {
        'name': pictures.folder.resolve().name,
        'pictures': len(pictures.files),
        'classes': len(pictures.classes),
        'classes_of_two_or_more': pictures.paired,
        'sizes': pictures.sizes,
        'repeated': list(pictures.repeated),
        'skipped': list(pictures.skipped),
    }


def _lines(study: Study, correlations: list[RankCorrelation]) -> Iterator[str]:
    from ros_ood_monitor.evaluation.tables import text_table

    known = study.known
    fit, test = study.splits[0]
    labels = f'{len(known.classes)} classes, {known.paired} of two pictures or more'
    yield f'in-distribution: {len(known.files)} pictures, ' + (
        labels if known.classes else 'no folders of classes: tolerance needs labels'
    )
    yield f'{fit} fitted, {test} tested, {len(study.splits)} splits'
    for name, pictures in study.ood.items():
        yield f'\nagainst {name}, {len(pictures.files)} pictures'
        yield text_table(_table(study.points, name))
    yield '\nrank correlation (Spearman) with AUROC'
    yield text_table(_correlation_table(correlations))
    yield ''
    yield from _NOTES
    yield from _cautions(study)


def _table(points: list[Point], ood: str) -> list[list[str]]:
    from ros_ood_monitor.training.study.detectors import DETECTORS

    head = ['backbone tap', 'channels', 'tolerance', 'uniformity']
    for detector in DETECTORS:
        head += [f'{detector} AUROC', 'fpr95 ID', 'fpr95 OOD']
    rows = [head]
    for point in points:
        cells = [
            f'{point.backbone} {point.tap}',
            str(point.channels),
            'needs labels' if point.tolerance is None else f'{point.tolerance:.4f}',
            f'{point.uniformity:.4f}',
        ]
        for detector in DETECTORS:
            cells += _cells(point.separation[detector][ood])
        rows.append(cells)
    return rows


def _cells(found: Separation) -> list[str]:
    return [
        f'{statistics.mean(found.auroc):.4f} +- {statistics.pstdev(found.auroc):.4f}',
        f'{statistics.mean(found.fpr95_id_positive):.3f}',
        f'{statistics.mean(found.fpr95_ood_positive):.3f}',
    ]


def _correlation_table(correlations: list[RankCorrelation]) -> list[list[str]]:
    rows: dict[str, dict[str, RankCorrelation]] = {}
    for row in correlations:
        key = f'{row.measure}, {row.detector}, {row.ood}'
        rows.setdefault(key, {})[row.points] = row
    (first, *_) = rows.values()
    head = ['', *(f'{name} (n={row.count})' for name, row in first.items())]
    table = [head]
    for key, groups in rows.items():
        cells = ['-' if row.rho is None else f'{row.rho:+.2f}' for row in groups.values()]
        table.append([key, *cells])
    return table


def _cautions(study: Study) -> Iterator[str]:
    usual = next(iter(study.known.sizes))
    for name, pictures in study.ood.items():
        other = next(iter(pictures.sizes))
        if other != usual:
            yield f'picture sizes differ: in-distribution mostly {usual}, {name} mostly {other}'
    folders = {'data': study.known, **({'fit data': study.fit} if study.fit else {}), **study.ood}
    for name, pictures in folders.items():
        for what, files in (('skipped', pictures.skipped), ('repeated', pictures.repeated)):
            if files:
                more = f' and {len(files) - 3} more' if len(files) > 3 else ''
                yield f'{name}: {len(files)} {what}: {"; ".join(files[:3])}{more}'
