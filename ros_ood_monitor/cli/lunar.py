"""``ood_monitor lunar``: frames of the example domain, lunar proximity operations."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

__all__ = ['add_parser', 'run']


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'lunar', help='frames of the example domain', description=__doc__
    )
    actions = parser.add_subparsers(
        title='actions', metavar='ACTION', required=True, help='what to do'
    )
    render = actions.add_parser('render', help='render sequences into folders of JPEG files')
    render.add_argument('--out', required=True, help='folder to make')
    render.add_argument('--sequences', type=int, default=1, help='how many (default: 1)')
    render.add_argument('--frames', type=int, default=60, help='pictures in each (default: 60)')
    render.add_argument('--seed', type=int, default=0, help='seed of the first (default: 0)')
    render.add_argument('--rate', type=float, default=1.0, help='pictures a second (default: 1)')
    render.add_argument(
        '--anomaly', help='what comes into view: blanket, debris, satellite or flare'
    )
    render.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Render."""
    import sys

    from tqdm import tqdm

    from ros_ood_monitor.lunar.dataset import write_sequences

    total = max(args.sequences * args.frames, 0)
    with tqdm(total=total, desc='render', unit='frame', file=sys.stderr) as bar:
        out = write_sequences(
            Path(args.out),
            sequences=args.sequences,
            frames=args.frames,
            seed=args.seed,
            rate_hz=args.rate,
            anomaly=args.anomaly,
            on_frame=bar.update,
        )
    print(f'{args.sequences} sequences of {args.frames} frames: {out}')
    return 0
