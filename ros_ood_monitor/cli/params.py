"""``ood_monitor params``: the node's parameter table."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ['add_parser', 'run']


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'params',
        help="render the node's parameter table",
        description='Prints every parameter of the node with its default, range and meaning.',
    )
    parser.add_argument(
        '--format',
        choices=('yaml', 'markdown'),
        default='yaml',
        help='yaml: a commented parameter file with the defaults; markdown: a table',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from ros_ood_monitor.ros.parameters.rendered import to_markdown, to_yaml

    print(to_yaml() if args.format == 'yaml' else to_markdown(), end='')
    return 0
