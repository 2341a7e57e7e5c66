"""``ood_monitor replay``: a bag through the monitor, without ROS."""

from __future__ import annotations

import argparse
import contextlib
import math
from typing import Any

from ros_ood_monitor.cli.arguments import at_least, positive

__all__ = ['add_parser', 'run']


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'replay',
        help='score a recorded bag frame by frame',
        description='Scores the camera frames of a rosbag2 (MCAP or SQLite3) as the node would '
        'have, and prints alerts in bag time. ROS is not needed.',
    )
    parser.add_argument('bundle', help='folder or .zip of a bundle, or the name of a shipped one')
    parser.add_argument('bag', help="a bag's folder, or one .mcap or .db3 file")
    parser.add_argument(
        '--topic',
        action='append',
        metavar='TOPIC',
        help='image topic to score; may be given again (default: every one but depth)',
    )
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='write a table there, one row a frame: .csv or .parquet; missing folders are made',
    )
    parser.add_argument(
        '--plot',
        metavar='FILE',
        help='draw the score over time there: .png, .svg or .pdf; missing folders are made',
    )
    parser.add_argument(
        '--overlays',
        metavar='DIR',
        help='write a picture of every frame in ALERT there, with the heat-map where the bundle '
        'has one; a new or an empty folder',
    )
    parser.add_argument(
        '--write-bag',
        metavar='BAG',
        help='write a bag with the scores, observations, alerts and overlays that the node would '
        'have published: a folder, or one file that ends in .mcap',
    )
    parser.add_argument(
        '--with-images', action='store_true', help='copy the scored images into that bag, too'
    )
    parser.add_argument('--engine', default='auto', help='inference library (default: auto)')
    parser.add_argument('--precision', help="one of the bundle's (default: its first)")
    parser.add_argument(
        '--threads', type=at_least(1), default=1, metavar='N', help='CPU threads (default: 1)'
    )
    parser.add_argument(
        '--every',
        type=at_least(1),
        default=1,
        metavar='N',
        help='score every n-th frame only; the alert logic then counts those (default: 1)',
    )
    parser.add_argument(
        '--rate',
        type=positive,
        metavar='FACTOR',
        help='so many times as fast as recorded, 1 for real time (default: as fast as it goes)',
    )
    parser.add_argument(
        '--drop',
        type=positive,
        nargs='?',
        const=math.nan,
        metavar='MS',
        help='leave out the frames that the node would have: those for which a newer one of the '
        'camera came before the engine was free. It is busy for MS ms with a frame (default: as '
        'long as it takes here)',
    )
    parser.add_argument(
        '--quiet', action='store_true', help='print warnings and errors only, and no progress'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay the bag, print what happened and write the files asked for."""
    from ros_ood_monitor.bags import BagReader
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.bundle.sketch import FrameTally
    from ros_ood_monitor.cli import replay_report as report
    from ros_ood_monitor.cli.console import Console
    from ros_ood_monitor.cli.replay_outputs import check_outputs, ReplayOutputs
    from ros_ood_monitor.monitor import Monitor
    from ros_ood_monitor.pace import Pace
    from ros_ood_monitor.preprocess import Preprocessor
    from ros_ood_monitor.replay import replay
    from ros_ood_monitor.share import bundle_path

    check_outputs(args)
    bundle = Bundle.load(bundle_path(args.bundle))
    preprocess = Preprocessor(bundle.manifest.input_height, bundle.manifest.input_width)
    with (
        Console(quiet=args.quiet) as console,
        BagReader(args.bag) as bag,
        contextlib.ExitStack() as stack,
    ):
        topics = [topic.name for topic in bag.choose(args.topic)]
        pace = Pace(
            topics,
            rate=args.rate,
            drop=args.drop is not None,
            busy=None if args.drop is None or math.isnan(args.drop) else 1e-3 * args.drop,
        )
        received = bag.received_frames(
            args.topic,
            every=args.every,
            workers=0 if pace.is_timed else 1,  # at a robot's pace each frame has its time
            prepare=preprocess.ahead,
            through=pace.through,
        )
        console.print(*report.facts(bag, topics))
        monitor = Monitor.from_bundle(
            bundle, engine=args.engine, precision=args.precision, threads=args.threads
        )
        try:
            monitor.prove()
            known = FrameTally(bundle.trained_frames())
            title = f'{bag.path.name}, bundle {bundle.manifest.name}'
            watch = report.Watch(console, monitor, several=len(topics) > 1, origin=bag.origin)
            outputs = ReplayOutputs(
                args, bundle, topics, title=title, origin=bag.origin, stack=stack
            )
            observations = replay(
                # one engine for all cameras, an alert logic for each
                lambda _: Monitor(bundle, monitor.engine, on_input=known.add),
                outputs.take(received),
            )
            total = sum(-(-t.count // args.every) for t in bag.topics() if t.name in topics)
            outputs.write(watch.follow(console.progress(observations, total)))
            stack.close()  # the bag takes its name
        finally:
            monitor.close()
        console.print(*watch.summary(bag.skipped), *report.paced(pace, args.rate))
        if str(known):
            console.warn(str(known))
        console.print(*outputs.finish(watch.episodes))
    return 0
