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
    from ros_ood_monitor.camera_names import camera_names
    from ros_ood_monitor.cli import replay_report as report
    from ros_ood_monitor.cli.replay_overlays import Overlays
    from ros_ood_monitor.errors import EngineError, ParameterError
    from ros_ood_monitor.evaluation.timeline import check_plot, Timeline
    from ros_ood_monitor.monitor import Monitor
    from ros_ood_monitor.pace import Pace
    from ros_ood_monitor.replay import check_table, replay, write_table
    from ros_ood_monitor.share import bundle_path
    from ros_ood_monitor.write_back import WriteBack

    if args.with_images and not args.write_bag:
        msg = '--with-images is of the bag that --write-bag makes: give that, too'
        raise ParameterError(msg)
    if args.out:
        check_table(args.out)
    if args.plot:
        check_plot(args.plot)
    bundle = Bundle.load(bundle_path(args.bundle))
    with (
        report.Console(quiet=args.quiet) as console,
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
        received = bag.received_frames(args.topic, every=args.every, through=pace.through)
        console.print(*report.facts(bag, topics))
        monitor = Monitor.from_bundle(
            bundle, engine=args.engine, precision=args.precision, threads=args.threads
        )
        try:
            proof = monitor.verify()
            if not proof.ok:
                msg = f'{proof}; build or choose another engine: {bundle.path}'
                raise EngineError(msg)
            unit = bundle.manifest.unit
            known = FrameTally(bundle.trained_frames())
            timeline = Timeline(unit=unit, title=f'{bag.path.name}, bundle {bundle.manifest.name}')
            watch = report.Watch(console, monitor, several=len(topics) > 1)
            back = None
            if args.write_bag:
                back = stack.enter_context(
                    WriteBack(
                        args.write_bag,
                        bundle=f'{bundle.manifest.name}@{bundle.digest[:12]}',
                        cameras=camera_names(topics),
                        with_images=args.with_images,
                    )
                )
            frames = back.take(received) if back else (frame for _, frame in received)
            if args.overlays:
                overlays = Overlays(args.overlays, camera_in_name=len(topics) > 1)
                frames = overlays.take(frames)
            observations = replay(
                # one engine for all cameras, an alert logic for each
                lambda _: Monitor(bundle, monitor.engine, on_input=known.add),
                frames,
            )
            total = sum(-(-t.count // args.every) for t in bag.topics() if t.name in topics)
            stream = watch.follow(console.progress(observations, total))
            if back:
                stream = back.follow(stream)
            if args.overlays:
                stream = overlays.follow(stream)
            if args.plot:
                stream = timeline.follow(stream)
            if args.out:
                write_table(stream, args.out)
            else:
                for _ in stream:
                    pass
            stack.close()  # the bag takes its name
        finally:
            monitor.close()
        console.print(*watch.summary(bag.skipped), *report.paced(pace, args.rate))
        if str(known):
            console.warn(str(known))
        if args.plot:
            timeline.save(args.plot, watch.episodes)
        written = [path for path in (args.out, args.plot, args.write_bag) if path]
        console.print(*(f'wrote {path}' for path in written))
        if args.overlays:
            console.print(f'wrote {overlays.count} overlays to {args.overlays}')
    return 0
