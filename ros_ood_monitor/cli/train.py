"""``ood_monitor train``: frames to a bundle."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import contextlib
from functools import partial
import logging
import os
from pathlib import Path
import sys
from typing import Any

from ros_ood_monitor.cli.arguments import add_executor, at_least, chosen_executor, positive, share
from ros_ood_monitor.cli.train_summary import summary, warnings

__all__ = ['add_parser', 'run']

_SETTING = 'setting:'


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'train',
        help='train a bundle from frames of normal operation',
        description='Trains a bundle from folders of images and bags that show normal operation '
        'only; no anomaly is needed. The packaged backbones download nothing.',
    )
    parser.add_argument(
        '--data',
        nargs='+',
        required=True,
        metavar='PATH',
        help='bags, folders that are searched recursively for images and bags, and .txt lists of '
        'them; a file that is found twice is used once',
    )
    parser.add_argument(
        '--add',
        nargs='+',
        default=(),
        metavar='FOLDER',
        help="besides, the node's recordings of alerts at and below these folders that somebody "
        'has marked as in-distribution (ood_monitor mark --id); the others are named and left out',
    )
    _add(
        parser,
        'wild',
        '--wild',
        nargs='+',
        metavar='PATH',
        help='recordings that nobody looked at, mostly normal: what a head learns from them is '
        'reported beside the detector, or is the detector with --density woods',
    )
    parser.add_argument('--out', required=True, metavar='BUNDLE', help='folder of the new bundle')
    parser.add_argument('--name', default='', help="the bundle's name (default: the folder's)")
    parser.add_argument(
        '--config',
        metavar='FILE',
        help='settings as YAML, such as config/training/default.yaml or the training.yaml of a '
        'bundle; flags win over it',
    )
    _add_model(parser)
    _add_frames(parser)
    _add_resources(parser)
    parser.add_argument(
        '--build-engine',
        metavar='LIBRARY',
        choices=('auto', 'tensorrt', 'tensorrt_rtx'),
        help='build the engine for this device afterwards, as ood_monitor build-engine does',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace a bundle that is there')
    parser.add_argument(
        '--quiet', action='store_true', help='show no progress; warnings are shown'
    )
    parser.set_defaults(run=run)


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('what is trained')
    add = partial(_add, group)
    add(
        'backbone',
        '--backbone',
        metavar='NAME',
        help='efficientnet_lite0 (default), _lite1, _lite2, mobilenet_v2, '
        'torchvision:MODEL[:WEIGHTS], or a FILE.onnx',
    )
    add('weights', '--weights', metavar='FILE', help='state dict instead of its own weights')
    add(
        'taps',
        '--taps',
        type=_names,
        metavar='all|NAME,...',
        help='stages of the backbone to score (default: all); the backbone is cut after the last '
        'one',
    )
    add(
        'input_size',
        '--input-size',
        type=at_least(32),
        metavar='PX',
        help="height and width of the network's input (default: what its weights were made for)",
    )
    add(
        'tiles',
        '--tiles',
        metavar='ROWSxCOLUMNS',
        help='see a frame in so many parts, each of the input size, for small things in large '
        'frames; a frame then costs rows x columns times as much (default: 1x1)',
    )
    add(
        'normalization',
        '--normalization',
        choices=('l2', 'radial', 'none'),
        help='of features: to unit length (default), by a power of the length chosen on held-out '
        'frames, or none',
    )
    add(
        'density',
        '--density',
        choices=(
            'auto',
            'evidence',
            'flow',
            'mahalanobis',
            'ppca',
            'mean_distance',
            'pca_residual',
            'knn',
            'vim',
            'woods',
        ),
        metavar='NAME',
        help='detector of each stage; auto (default): flow up to 320 channels, else mahalanobis; '
        'evidence: all are fitted, and one is chosen by pseudo-OOD; or one for all: flow, '
        'mahalanobis, ppca, mean_distance, pca_residual, knn; vim: on the head of a backbone '
        'whose classifier is known, auto on the others; woods: what the frames of --wild teach, '
        'for all stages together',
    )
    add(
        'unmask.method',
        '--unmask',
        choices=('um', 'umap', 'none'),
        help='learn the classes of the frames (a folder for each in --data) and forget the '
        'atypical ones: um fine-tunes weights, umap drops some of them; see docs/unmask.md',
    )
    add(
        'unmask.part',
        '--unmask-part',
        choices=('all', 'block', 'head'),
        help='what is trained: the whole backbone, its last stage (block, the default), or the '
        'classifier alone, which --density vim reads',
    )
    add(
        'map',
        '--map',
        type=_names,
        metavar='auto|none|NAME,...',
        help='stages of the backbone whose grids make the map that shows where; auto (default): '
        'those of 8 and 16 input px per cell, or the nearest',
    )
    add(
        'map_density',
        '--map-density',
        choices=(
            'auto',
            'flow',
            'mahalanobis',
            'ppca',
            'mean_distance',
            'pca_residual',
            'knn',
        ),
        metavar='NAME',
        help='detector of the cells of the map; auto (default): mahalanobis, or with --density '
        'evidence the one that finds pasted defects best',
    )
    add(
        'coreset',
        '--coreset',
        type=_coreset,
        metavar='auto|N',
        help='points that the detector knn keeps, of each stage and of the cells of the map: more '
        'find more, and cost time and memory in proportion; auto (default): a quarter, at most '
        '1024',
    )
    add(
        'flow.preset',
        '--flow',
        choices=('default', 'realnvp', 'fde_paper'),
        help='how flows are built and trained; see docs/training.md',
    )
    add(
        'flow.steps',
        '--steps',
        type=at_least(0),
        metavar='N',
        help='most optimiser steps of a flow (default: 2000)',
    )
    add(
        'precisions',
        '--precisions',
        type=_names,
        metavar='NAME,...',
        help='precisions of the backbone in the bundle: fp32 (default), fp16, cpu-int8, trt-int8; '
        'the first one is what a node uses unless told otherwise',
    )
    add(
        'alpha',
        '--alpha',
        type=share,
        metavar='SHARE',
        help='share of held-out frames allowed over the trigger threshold (default: 0.01)',
    )
    add(
        'false_alerts_per_hour',
        '--false-alerts-per-hour',
        type=positive,
        metavar='R',
        help='set the alert for this rate where the held-out sequences can support it, else say '
        'why not; takes whole bags with 3/R hours held out. `ood_monitor calibrate` does it later',
    )
    add('seed', '--seed', type=at_least(0), metavar='N', help='of all chance (default: 0)')


def _add_frames(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('which frames')
    add = partial(_add, group)
    add(
        'split',
        '--split',
        choices=('auto', 'sequence', 'block'),
        help='hold out whole sequences (a bag, or a folder that holds images) or contiguous '
        'blocks; auto (default): sequences for bags where there are enough, else blocks',
    )
    add(
        'selection.topics',
        '--topic',
        action='append',
        metavar='TOPIC',
        help='image topic of the bags; may be given again (default: every one but depth)',
    )
    add(
        'selection.every',
        '--every',
        '--stride',
        type=at_least(1),
        metavar='N',
        help="take each sequence's every n-th frame only (default: 1)",
    )
    add('selection.start', '--start', type=float, metavar='S', help='from S s into each bag on')
    add('selection.end', '--end', type=float, metavar='S', help='up to S s into each bag')
    add(
        'near_duplicates',
        '--near-duplicates',
        type=float,
        metavar='GREY',
        help='leave out frames whose 16x16 grey thumbnail differs by less (root mean square, grey '
        'levels) from any of the last 32 taken; 2 is a good start (default: 0, keep all)',
    )
    add(
        'data_licence',
        '--data-licence',
        metavar='TEXT',
        help="licence line of the data in the bundle's manifest",
    )


def _add_resources(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('with what')
    _add(
        group,
        'threads',
        '--threads',
        type=at_least(1),
        metavar='N',
        help='CPU threads (default: 1)',
    )
    group.add_argument(
        '--workers',
        type=at_least(0),
        default=None,
        metavar='N',
        help='threads beside the main one: they decode, run the backbone and fit stages side by '
        'side (default: one fewer than there are cores, at most 3)',
    )
    group.add_argument(
        '--device',
        default='auto',
        choices=('auto', 'cpu', 'cuda'),
        help='where features are computed; auto (default): a GPU if torch sees one',
    )
    group.add_argument(
        '--cache',
        metavar='DIR',
        help='folder that keeps features, so that nothing is computed twice and an interrupted '
        'training goes on (default: ood_monitor/features in the cache folder of the user)',
    )
    group.add_argument('--no-cache', action='store_true', help='keep no features')
    add_executor(group, shard='a recording or folder', jobs=False)


def _add(group: Any, key: str, *flags: str, **options: Any) -> None:
    """Add an option that sets a key of the settings where it is given."""
    group.add_argument(*flags, dest=f'{_SETTING}{key}', default=argparse.SUPPRESS, **options)


def _coreset(text: str) -> int | None:
    from ros_ood_monitor.training.settings import CORESET_SIZES

    if text == 'auto':
        return None
    try:
        return int(text)  # its range is a setting's
    except ValueError:
        least, most = CORESET_SIZES
        msg = f'expected auto or {least} to {most} points, got {text!r}'
        raise argparse.ArgumentTypeError(msg) from None


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(',') if name.strip()]


def run(args: argparse.Namespace) -> int:
    """Train, then print what came out."""
    with _imports_explained():
        from ros_ood_monitor.shards import RayCluster
        from ros_ood_monitor.training.cache import default_cache
        from ros_ood_monitor.training.config_file import read_config, settings_from
        from ros_ood_monitor.training.marked import marked_recordings
        from ros_ood_monitor.training.preflight import preflight
        from ros_ood_monitor.training.progress import Progress
        from ros_ood_monitor.training.settings import Resources

    given = {
        key.removeprefix(_SETTING): value
        for key, value in vars(args).items()
        if key.startswith(_SETTING)
    }
    config = read_config(args.config) if args.config else {}
    executor = chosen_executor(args)
    resources = Resources(
        cache=None if args.no_cache else Path(args.cache) if args.cache else default_cache(),
        workers=min(3, (os.cpu_count() or 1) - 1) if args.workers is None else args.workers,
        device=args.device,
        executor=executor if isinstance(executor, RayCluster) else None,
    )
    progress = Progress(quiet=args.quiet)
    with _warnings_at_once(), _interrupt_explained(kept=resources.cache is not None):
        data = [*args.data, *marked_recordings(args.add)] if args.add else args.data
        settings = settings_from(config, {**given, 'data': data})
        dataset = preflight(settings, args.out, name=args.name, overwrite=args.overwrite)
        if args.build_engine:
            from ros_ood_monitor.engines.build import check_can_build

            check_can_build(args.build_engine, settings.precisions)
        progress.note('loading PyTorch')
        with _imports_explained():
            from ros_ood_monitor.training.trainer import train
        result = train(
            settings,
            args.out,
            name=args.name,
            overwrite=args.overwrite,
            resources=resources,
            progress=progress,
            dataset=dataset,
        )
    for line in warnings(result):
        print(f'ood_monitor: warning: {line}', file=sys.stderr)
    print('\n'.join(summary(result)))
    code = 1 if any(not verdict.ok for verdict in result.found.verdicts) else 0
    if args.build_engine:
        from ros_ood_monitor.cli.build_engine import build

        code = build(result.bundle, library=args.build_engine) or code
    return code


@contextlib.contextmanager
def _imports_explained() -> Iterator[None]:
    """Say which package training lacks."""
    from ros_ood_monitor.errors import TrainingError

    try:
        yield
    except ImportError as error:
        if (error.name or '').startswith('ros_ood_monitor'):
            raise  # no package that pip could bring
        if isinstance(error, ModuleNotFoundError):
            what = f'the package {error.name!r}, which is not installed'
            cure = "run: pip install '.[train]' in the clone"
        else:
            what = f'a package that cannot be imported ({" ".join(str(error).split())})'
            cure = 'run: ood_monitor doctor'
        msg = f'training needs {what}; {cure}'
        raise TrainingError(msg) from error


@contextlib.contextmanager
def _interrupt_explained(*, kept: bool) -> Iterator[None]:
    """Say what an interrupted training left, for whoever prints it."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        cure = (
            'the same command goes on where it was'
            if kept
            else 'nothing was kept; without --no-cache the same command would go on where it was'
        )
        raise KeyboardInterrupt(cure) from interrupt


class _ToStderr(logging.Handler):
    """Prints each warning once, above a progress bar."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        line = record.getMessage()
        if line not in self._told:  # a bag is opened twice
            self._told.add(line)
            tqdm.write(f'ood_monitor: warning: {line}', file=sys.stderr)


@contextlib.contextmanager
def _warnings_at_once() -> Iterator[None]:
    logger, handler = logging.getLogger('ros_ood_monitor'), _ToStderr()
    propagate = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
