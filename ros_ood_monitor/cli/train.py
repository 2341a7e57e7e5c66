"""``ood_monitor train``: frames to a bundle."""

from __future__ import annotations

import argparse
import sys
from typing import Any

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
        help='folders of images (searched recursively), bags, folders of bags',
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
        type=float,
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
        type=int,
        default=1,
        metavar='N',
        help="take each sequence's every n-th frame only (default: 1)",
    )
    parser.add_argument(
        '--input-size',
        type=int,
        default=224,
        metavar='PX',
        help="height and width of the network's input, a multiple of 32 (default: 224)",
    )
    parser.add_argument(
        '--steps', type=int, metavar='N', help='most optimiser steps of a flow (default: 2000)'
    )
    parser.add_argument('--seed', type=int, default=0, help='of everything random (default: 0)')
    parser.add_argument('--threads', type=int, default=1, help='CPU threads (default: 1)')
    parser.add_argument(
        '--data-licence',
        default='not stated',
        metavar='TEXT',
        help="licence line of the data in the bundle's manifest",
    )
    parser.add_argument('--overwrite', action='store_true', help='replace a bundle that is there')
    parser.add_argument('--quiet', action='store_true', help='show no progress bars')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, then print what came out."""
    from ros_ood_monitor.errors import TrainingError

    try:
        from ros_ood_monitor.training.fit import FlowSettings
        from ros_ood_monitor.training.progress import Progress
        from ros_ood_monitor.training.settings import TrainSettings
        from ros_ood_monitor.training.trainer import train
    except ImportError as error:
        msg = (
            f'training needs the package {error.name!r}, which is not installed; '
            "run: pip install '.[train]' in the clone"
        )
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


def _warnings(result: Any) -> list[str]:
    lines = []
    if result.skipped:
        used = result.bundle.manifest.raw['training']['frames']['used']
        lines.append(f'skipped {len(result.skipped)} of {used + len(result.skipped)} frames:')
        lines += [f'  {skipped.name}: {skipped.reason}' for skipped in result.skipped[:20]]
    lines += [f'missing or damaged: {name}' for name in result.missing]
    return lines


def _summary(result: Any) -> list[str]:
    """Return the table of taps and the facts of the bundle."""
    lines = [
        f'{"tap":<9} {"D":>5}  {"density":<12} {"shrinkage":>9} {"step":>5} {"of":>5} '
        f'{"nll at start":>13} {"nll":>10} {"s":>7}'
    ]
    for row in result.taps:
        record = row.record
        lines.append(
            f'{row.tap.name:<9} {row.tap.channels:>5}  {record.density:<12} '
            f'{record.gaussian.shrinkage:>9.3f} {record.step:>5} '
            f'{record.steps:>5} {record.nll_at_start:>13.2f} {record.nll:>10.2f} '
            f'{row.seconds:>7.1f}'
        )
    bundle, split = result.bundle, result.split
    point = bundle.calibration().operating_point
    sizes = [len(bundle.read(file)) for file in bundle.manifest.digests]
    return [
        *lines,
        'nll: mean over validation frames, in nats; step: the earliest within one standard error '
        'of the lowest',
        f'frames     {len(split.fit)} fitted, {len(split.validation)} validation, '
        f'{len(split.calibration)} calibration (split by {split.rule})',
        f'threshold  trigger {point.trigger:.4g}, release {point.release:.4g} for alpha = '
        f'{point.alpha:g} of frames; a false-alarm rate per hour is not established',
        f'bundle     {bundle.path} ({sum(sizes) / 1e6:.1f} MB), digest {bundle.digest[:12]}',
    ]
