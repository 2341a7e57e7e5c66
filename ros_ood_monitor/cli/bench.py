"""``ood_monitor bench``: speed and memory of a bundle on this machine, as ratios."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ros_ood_monitor.cli.arguments import add_device, at_least

__all__ = ['add_parser', 'run']


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'bench',
        help='speed and memory on this machine',
        description='Times the monitor against bare calls of its engine, side by side on one '
        'thread, every precision on the CPU beside each other, and measures start-up, memory and '
        'imports. A goal that is not met does not fail the run.',
    )
    parser.add_argument('bundle', help='folder or .zip of a bundle, or the name of a shipped one')
    parser.add_argument('--json', metavar='FILE', help='write all figures there')
    parser.add_argument(
        '--engine', default='onnxruntime', help='inference library (default: onnxruntime)'
    )
    parser.add_argument('--precision', help="one of the bundle's (default: the engine's choice)")
    add_device(parser)
    parser.add_argument('--repeats', type=at_least(1), metavar='N', help='rounds (default: 60)')
    parser.add_argument(
        '--quick', action='store_true', help='show that it runs; the figures are worth little'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables and write the file asked for."""
    from ros_ood_monitor.atomic import check_output
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.evaluation.speed.benchmark import benchmark, Settings
    from ros_ood_monitor.evaluation.speed.benchmark_text import to_text
    from ros_ood_monitor.evaluation.tables import write_text
    from ros_ood_monitor.share import bundle_path

    if args.json:
        check_output(args.json)
    settings = Settings.quick() if args.quick else Settings()
    if args.repeats is not None:
        settings = settings._replace(rounds=args.repeats)
    bundle = Bundle.load(bundle_path(args.bundle))
    facts = benchmark(
        bundle,
        engine=args.engine,
        precision=args.precision,
        device=args.device,
        cache=args.cache,
        settings=settings,
    )
    print(to_text(facts), end='')
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1, allow_nan=False) + '\n')
    return 0
