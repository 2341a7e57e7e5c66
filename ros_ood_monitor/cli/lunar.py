"""``ood_monitor lunar``: frames of the example domain, lunar proximity operations."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

from ros_ood_monitor.cli.arguments import at_least, positive
from ros_ood_monitor.cli.wording import count

__all__ = ['add_parser', 'run']


_ANOMALIES = ('blanket', 'debris', 'satellite', 'flare')  # those of lunar.anomalies, unloaded


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'lunar',
        help='frames of the example domain',
        description='Renders frames of the example domain, lunar proximity operations.',
    )
    actions = parser.add_subparsers(
        title='actions', metavar='ACTION', required=True, help='what to do'
    )
    render = actions.add_parser('render', help='render sequences into folders of JPEG files')
    render.add_argument('--out', required=True, help='folder to make')
    whole = {'type': at_least(1), 'metavar': 'N'}
    render.add_argument('--sequences', **whole, default=1, help='how many (default: 1)')
    render.add_argument(
        '--frames', **whole, default=60, help='pictures in each, 300 s at most (default: 60)'
    )
    render.add_argument(
        '--seed', type=at_least(0), default=0, metavar='N', help='seed of the first (default: 0)'
    )
    render.add_argument(
        '--rate', type=positive, default=1.0, metavar='HZ', help='pictures a second (default: 1)'
    )
    render.add_argument('--anomaly', choices=_ANOMALIES, help='what comes into view')
    render.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Render."""
    from ros_ood_monitor.cli.console import Console
    from ros_ood_monitor.lunar.dataset import write_sequences

    total, done = args.sequences * args.frames, itertools.count(1)
    with Console(quiet=False) as console, console.counting() as show:
        out = write_sequences(
            Path(args.out),
            sequences=args.sequences,
            frames=args.frames,
            seed=args.seed,
            rate_hz=args.rate,
            anomaly=args.anomaly,
            on_frame=lambda: show('rendering', f'{next(done)} of {total} frames'),
        )
    print(f'{count(args.sequences, "sequence")} of {count(args.frames, "frame")}: {out}')
    return 0
