"""``ood_monitor label``: mark what is foreign in a bag, on a page of this machine."""

from __future__ import annotations

import argparse
import contextlib
import itertools
from pathlib import Path
from typing import Any

from ros_ood_monitor.cli.arguments import at_least, UsageError

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
        help='file of labels, .yaml; one that is there is gone on with (default: the labels.yaml '
        "that ood_monitor evaluate reads, or one in the bag's folder or beside the file)",
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
    parser.add_argument('--engine', help='inference library (default: auto)')
    parser.add_argument('--precision', help="one of the bundle's (default: its first)")
    parser.add_argument(
        '--threads', type=at_least(1), metavar='N', help='CPU threads (default: 1)'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the bag, serve the page until Ctrl-C, and say what was saved."""
    from ros_ood_monitor.cli.wording import count
    from ros_ood_monitor.evaluation.bags.labels import bag_name, labels_place
    from ros_ood_monitor.evaluation.labelling import LabelFile, LabelServer

    lost = [name for name in ('engine', 'precision', 'threads') if getattr(args, name) is not None]
    if lost and not args.bundle:
        msg = f'--{lost[0]} is of the bundle that scores: give --bundle, too'
        raise UsageError(msg)
    bag = Path(args.bag)
    out = Path(args.out) if args.out else labels_place(bag)
    labels = LabelFile(out, bag_name(bag))
    with LabelServer(labels, port=args.port) as server, _read(args) as recording:
        print(f'open {server.url}\nlabels go to {out}; Ctrl-C ends', flush=True)
        server.recording = recording
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    there = f'{count(len(labels.labels), "label")} in {out}' if out.exists() else 'no label made'
    print(there)
    return 0


def _read(args: argparse.Namespace) -> Any:
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.cli.console import Console
    from ros_ood_monitor.engines import open_engine
    from ros_ood_monitor.evaluation.labelling import read_recording
    from ros_ood_monitor.monitor import Monitor
    from ros_ood_monitor.share import bundle_path

    done = itertools.count(1)
    bundle = engine = None
    with contextlib.ExitStack() as stack:
        if args.bundle:
            bundle = Bundle.load(bundle_path(args.bundle))
            engine = open_engine(
                bundle,
                args.engine or 'auto',
                precision=args.precision,
                threads=args.threads or 1,
            )
            stack.callback(engine.close)
            Monitor(bundle, engine).prove()
        show = stack.enter_context(stack.enter_context(Console(quiet=False)).counting())
        return read_recording(
            Path(args.bag),
            bundle,
            engine,
            topics=args.topic,
            on_frame=lambda: show('reading', f'{next(done)} frames'),
        )
