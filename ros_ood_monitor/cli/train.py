"""``ood_monitor train``: frames to a bundle."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import contextlib
import logging
import sys
from typing import Any

from ros_ood_monitor.cli.arguments import at_least, input_size, share
from ros_ood_monitor.cli.wording import count, density_text, trigger_warning

__all__ = ['add_parser', 'run']


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'train',
        help='train a bundle from frames of normal operation',
        description='Trains a bundle from folders of images and bags that show normal operation '
        'only. Nothing is downloaded, no anomaly is needed.',
    )
    parser.add_argument(
        '--data',
        nargs='+',
        required=True,
        metavar='PATH',
        help='bags, and folders that are searched recursively for images and bags; a file that '
        'is found twice is used once',
    )
    parser.add_argument('--out', required=True, metavar='BUNDLE', help='folder of the new bundle')
    parser.add_argument('--name', default='', help="the bundle's name (default: the folder's)")
    parser.add_argument(
        '--taps',
        default='all',
        metavar='all|NAME,...',
        help='stages of the backbone to score: blocks.0 to blocks.6, head (default: all); the '
        'backbone is cut after the last one',
    )
    parser.add_argument(
        '--density',
        default='auto',
        choices=('auto', 'flow', 'mahalanobis'),
        help='density of each stage; auto: flow up to 320 channels, else mahalanobis',
    )
    parser.add_argument(
        '--alpha',
        type=share,
        metavar='SHARE',
        default=0.01,
        help='share of held-out frames allowed over the trigger threshold (default: 0.01)',
    )
    parser.add_argument(
        '--split',
        default='auto',
        choices=('auto', 'sequence', 'block'),
        help='hold out whole sequences (a bag, or a folder that holds images) or contiguous '
        'blocks; auto: sequences for bags where there are enough, else blocks',
    )
    parser.add_argument(
        '--topic',
        action='append',
        default=[],
        metavar='TOPIC',
        help='image topic of the bags; may be given again (default: every image topic)',
    )
    parser.add_argument(
        '--every',
        '--stride',
        type=at_least(1),
        default=1,
        metavar='N',
        help="take each sequence's every n-th frame only (default: 1)",
    )
    parser.add_argument(
        '--input-size',
        type=input_size,
        default=224,
        metavar='PX',
        help="height and width of the network's input, a multiple of 32 (default: 224)",
    )
    parser.add_argument(
        '--steps',
        type=at_least(0),
        metavar='N',
        help='most optimiser steps of a flow (default: 2000)',
    )
    parser.add_argument(
        '--seed', type=at_least(0), default=0, metavar='N', help='of all chance (default: 0)'
    )
    parser.add_argument(
        '--threads', type=at_least(1), default=1, metavar='N', help='CPU threads (default: 1)'
    )
    parser.add_argument(
        '--data-licence',
        default='not stated',
        metavar='TEXT',
        help="licence line of the data in the bundle's manifest",
    )
    parser.add_argument('--overwrite', action='store_true', help='replace a bundle that is there')
    parser.add_argument(
        '--quiet', action='store_true', help='show no progress; warnings are shown'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, then print what came out."""
    from ros_ood_monitor.errors import TrainingError

    if not args.quiet:
        print('loading PyTorch', file=sys.stderr, flush=True)
    try:
        from ros_ood_monitor.training.fit import FlowSettings
        from ros_ood_monitor.training.progress import Progress
        from ros_ood_monitor.training.settings import TrainSettings
        from ros_ood_monitor.training.trainer import train
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

    settings = TrainSettings(
        data=args.data,
        taps=[name.strip() for name in args.taps.split(',') if name.strip()],
        density=args.density,
        alpha=args.alpha,
        split=args.split,
        seed=args.seed,
        flow=FlowSettings() if args.steps is None else FlowSettings(steps=args.steps),
        topics=args.topic,
        every=args.every,
        input_size=(args.input_size, args.input_size),
        threads=args.threads,
        data_licence=args.data_licence,
    )
    with _warnings_at_once():
        result = train(
            settings,
            args.out,
            name=args.name,
            overwrite=args.overwrite,
            progress=Progress(quiet=args.quiet),
        )
    for line in _warnings(result):
        print(f'ood_monitor: warning: {line}', file=sys.stderr)
    print('\n'.join(_summary(result)))
    return 0


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


def _warnings(result: Any) -> list[str]:
    lines = []
    if result.skipped:
        used = result.bundle.manifest.raw['training']['frames']['used']
        total = count(used + len(result.skipped), 'frame')
        lines.append(f'skipped {len(result.skipped)} of {total}:')
        lines += [f'  {skipped.name}: {skipped.reason}' for skipped in result.skipped[:20]]
    lines += [f'missing or damaged: {name}' for name in result.missing]
    hanging = trigger_warning(result.bundle.calibration())
    if hanging:
        lines.append(f'{hanging}; give more frames or a larger --alpha')
    return lines


def _summary(result: Any) -> list[str]:
    """Return the table of taps and the facts of the bundle."""
    lines = [
        f'{"tap":<9} {"D":>5}  {"density":<24} {"of":>5} {"shrinkage":>9} '
        f'{"nll at start":>12} {"nll":>9} {"nll of fit":>10} {"s":>6}'
    ]
    for row in result.taps:
        record = row.record
        lines.append(
            f'{row.tap.name:<9} {row.tap.channels:>5}  '
            f'{density_text(record.density, record.step):<24} {record.steps:>5} '
            f'{record.gaussian.shrinkage:>9.3f} {record.nll_at_start:>12.2f} '
            f'{record.nll:>9.2f} {record.fit_nll:>10.2f} {row.seconds:>6.1f}'
        )
    bundle, split = result.bundle, result.split
    point = bundle.calibration().operating_point
    sizes = [len(bundle.read(file)) for file in bundle.manifest.digests]
    return [
        *lines,
        'nll: mean over validation frames (of fit: over fitted ones), in nats; step: the earliest '
        'within one standard error of the lowest, at 0 the flow is the Gaussian that it starts as',
        f'frames     {len(split.fit)} fitted, {len(split.validation)} validation, '
        f'{len(split.calibration)} calibration (split by {split.rule})',
        f'threshold  trigger {point.trigger:.4g}, release {point.release:.4g} for alpha = '
        f'{point.alpha:g} of frames; a false-alarm rate per hour is not established',
        f'bundle     {bundle.path} ({sum(sizes) / 1e6:.1f} MB), digest {bundle.digest[:12]}',
    ]
