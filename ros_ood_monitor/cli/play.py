"""``ood_monitor play``: the pictures of a bag onto a topic, as a camera would publish them."""

from __future__ import annotations

import argparse
from typing import Any

from ros_ood_monitor.cli.arguments import not_negative, positive

__all__ = ['add_parser', 'run']


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'play',
        help='publish the pictures of a bag onto a topic',
        description='Publishes the pictures of a bag, byte for byte and at the pace they were '
        'recorded with: raw ones to the topic image, compressed ones to image/compressed. It '
        'waits for a subscriber first; Ctrl-C ends it. rosbag2 is not needed.',
    )
    parser.add_argument('bag', help="a bag's folder, or one .mcap or .db3 file")
    parser.add_argument(
        '--source',
        default='',
        metavar='TOPIC',
        help='image topic in the bag (default: its only one)',
    )
    parser.add_argument(
        '--rate',
        type=positive,
        default=1.0,
        metavar='FACTOR',
        help='pace as a multiple of the recorded one (default: 1)',
    )
    parser.add_argument(
        '--restamp',
        action='store_true',
        help='give headers the time of publishing instead of their own',
    )
    parser.add_argument(
        '--wait',
        type=not_negative,
        default=30.0,
        metavar='S',
        help='longest wait for a subscriber, in s (default: 30)',
    )
    parser.add_argument(
        '--ros-args',
        nargs=argparse.REMAINDER,
        default=[],
        metavar='...',
        help='all that follows is for ROS, such as -r image:=/camera/image',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play the bag; 0 where it was played or stopped."""
    from ros_ood_monitor.cli.wording import no_ros
    from ros_ood_monitor.errors import OodMonitorError

    try:
        from ros_ood_monitor.ros.demo.player import play_bag
    except ImportError as error:
        raise OodMonitorError(no_ros('playing a bag', error)) from error
    play_bag(
        args.bag,
        source=args.source,
        rate=args.rate,
        restamp=args.restamp,
        wait=args.wait,
        ros_args=args.ros_args,
    )
    return 0
