"""``ood_monitor label``: mark what is foreign in a bag, on a page of this machine."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
import sys
from typing import Any

from ros_ood_monitor.cli.arguments import at_least

__all__ = ['add_parser', 'run']


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'label',
        help='mark stretches of a bag as out-of-distribution, in a browser',
        description='Reads a bag once and shows its frames, with --bundle beside their scores, on '
        'a page that only this machine and who knows its address can open. Every change is saved '
        'in the file that ood_monitor evaluate reads. Ctrl-C ends it.',
    )
    parser.add_argument('bag', help="a bag's folder, or one .mcap or .db3 file")
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='file of labels, .yaml; one that is there is gone on with (default: labels.yaml in '
        "the bag's folder, or beside the file)",
    )
    parser.add_argument(
        '--bundle', metavar='BUNDLE', help='score every frame with it, to see where to look'
    )
    parser.add_argument(
        '--topic',
        action='append',
        metavar='TOPIC',
        help='image topic to show; may be given again (default: every one but depth)',
    )
    parser.add_argument(
        '--port',
        type=at_least(0),
        default=0,
        metavar='N',
        help='port on 127.0.0.1 (default: a free one)',
    )
    parser.add_argument('--engine', default='auto', help='inference library (default: auto)')
    parser.add_argument('--precision', help="one of the bundle's (default: its first)")
    parser.add_argument(
        '--threads', type=at_least(1), default=1, metavar='N', help='CPU threads (default: 1)'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the bag, serve the page until Ctrl-C, and say what was saved."""
    from ros_ood_monitor.cli.wording import count
    from ros_ood_monitor.evaluation.labelling import LabelFile, LabelServer

    with contextlib.ExitStack() as stack:
        recording = stack.enter_context(_read(args))
        out = Path(args.out) if args.out else LabelFile.beside(recording.bag)
        labels = LabelFile(out, recording.name, recording.start)
        server = stack.enter_context(LabelServer(recording, labels, port=args.port))
        print(f'open {server.url}\nlabels go to {out}; Ctrl-C ends', flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    there = f'{count(len(labels.labels), "label")} in {out}' if out.exists() else 'no label made'
    print(there)
    return 0


def _read(args: argparse.Namespace) -> Any:
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.engines import open_engine
    from ros_ood_monitor.errors import ParameterError
    from ros_ood_monitor.evaluation.labelling import read_recording
    from ros_ood_monitor.share import bundle_path

    if args.out and Path(args.out).suffix.lower() not in ('.yaml', '.yml'):
        msg = f'unknown kind of file: expected .yaml, got {Path(args.out).suffix!r}: {args.out}'
        raise ParameterError(msg)
    done = 0

    def show() -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty() and done % 50 == 0:
            print(f'\rread {done} frames', end='', file=sys.stderr, flush=True)

    bag = Path(args.bag)
    if not args.bundle:
        return read_recording(bag, topics=args.topic, on_frame=show)
    bundle = Bundle.load(bundle_path(args.bundle))
    engine = open_engine(bundle, args.engine, precision=args.precision, threads=args.threads)
    try:
        return read_recording(bag, bundle, engine, topics=args.topic, on_frame=show)
    finally:
        engine.close()
