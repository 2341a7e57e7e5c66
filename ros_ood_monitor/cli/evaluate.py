"""``ood_monitor evaluate``: how well a bundle does on recorded bags, or on folders of images."""

from __future__ import annotations

import argparse
import contextlib
import io
from typing import Any, Final

from ros_ood_monitor.cli.arguments import at_least
from ros_ood_monitor.cli.evaluate_options import (
    add_bag_options,
    add_image_options,
    check_not_mixed,
)
from ros_ood_monitor.cli.evaluate_output import is_page

__all__ = ['add_parser', 'run']

_REPORTS: Final = ('.html', '.md', '.markdown', '.txt')


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'evaluate',
        help='AUROC, AUPR, FPR95, events and false alerts on bags, or on folders of images',
        description='Scores every frame of recorded bags as the node scores frames, holds scores '
        'and alerts against labels, and prints how well the bundle tells the frames apart, which '
        'events it found and how soon, and how often it alerted for nothing. With --images it '
        'does that for JPEG and PNG files, which have no events; where the bundle has maps and '
        'masks or boxes are known, also how well the maps find the anomalous pixels. ROS is not '
        'needed.',
    )
    parser.add_argument('bundle', help='folder or .zip of a bundle, or the name of a shipped one')
    add_bag_options(parser.add_argument_group('bags'))
    add_image_options(parser.add_argument_group('folders of images'))
    parser.add_argument(
        '--json', metavar='FILE', help='write all numbers there (with --images every score, too)'
    )
    parser.add_argument(
        '--report',
        metavar='FILE',
        help='write a report there: of bags, a .html page with everything in it, and JSON and '
        'Parquet beside it; .md or .txt: the tables as Markdown',
    )
    parser.add_argument(
        '--gate',
        metavar='FILE',
        help='YAML of limits by the names that --json uses, such as '
        '"together.frames.auroc: {min: 0.95}"; ends with 1 where one is not kept',
    )
    parser.add_argument('--engine', default='auto', help='inference library (default: auto)')
    parser.add_argument('--precision', help="one of the bundle's (default: its first)")
    parser.add_argument(
        '--threads', type=at_least(1), default=1, metavar='N', help='CPU threads (default: 1)'
    )
    parser.add_argument(
        '--seed',
        type=at_least(0),
        default=0,
        metavar='N',
        help='seed of the bootstrap intervals (default: 0)',
    )
    parser.add_argument(
        '--quiet', action='store_true', help='print warnings and errors only, and no progress'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the tables, write the files asked for, and hold figures against limits."""
    from ros_ood_monitor.atomic import check_output
    from ros_ood_monitor.evaluation.gate import read_gate

    check_not_mixed(args)
    gate = read_gate(args.gate) if args.gate else {}
    if args.report and not is_page(args.report):
        check_output(args.report, _REPORTS)
    if args.json:
        check_output(args.json)
    with contextlib.redirect_stdout(io.StringIO()) if args.quiet else contextlib.nullcontext():
        if args.images:
            from ros_ood_monitor.cli.evaluate_images import run_images

            return run_images(args, gate)
        from ros_ood_monitor.cli.evaluate_bags import run_bags

        return run_bags(args, gate)
