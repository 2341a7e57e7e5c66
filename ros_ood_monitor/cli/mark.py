"""``ood_monitor mark``: what a person says that recordings of alerts show."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
import datetime as dt
import math
from typing import Any

from ros_ood_monitor.cli.arguments import UsageError
from ros_ood_monitor.json_values import number_at

__all__ = ['add_parser', 'run']


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'mark',
        help='say what recordings of alerts show, or list them',
        description='Writes into the summary of a recording what a person has seen in it. Those '
        'marked --id are what train --add takes; a marked recording is never removed by the node '
        'that made it. Without a mark the recordings are listed.',
    )
    parser.add_argument(
        'recordings',
        nargs='+',
        metavar='RECORDING',
        help='folders of recordings; to list them, folders that hold some, too',
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        '--id',
        dest='shows',
        action='store_const',
        const='id',
        help='normal operation (in-distribution): a false alert, to be trained on',
    )
    group.add_argument(
        '--ood',
        dest='shows',
        action='store_const',
        const='ood',
        help='something that is rightly an alert (out-of-distribution)',
    )
    group.add_argument(
        '--unmark', dest='shows', action='store_const', const='', help='take the mark away'
    )
    parser.add_argument('--note', metavar='TEXT', help='anything worth remembering')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Mark recordings and print their lines, or list them."""
    from ros_ood_monitor.recorder import find_recordings, mark_recording, Recording

    if args.note is not None and not args.shows:
        msg = '--note belongs to a mark: expected --id or --ood with it'
        raise UsageError(msg)
    if args.shows is None:
        found = find_recordings(args.recordings)
        print('\n'.join(_line(recording) for recording in found))
        return 0
    for path in args.recordings:  # one that is none refuses them all
        Recording.load(path)
    for path in args.recordings:
        print(_line(mark_recording(path, args.shows, note=args.note or '')))
    return 0


def _line(recording: Any) -> str:
    """Return one line about a recording: mark, when, how long, how high, where, and the note."""
    facts = recording.facts
    cameras = [camera for camera in facts.get('cameras') or [] if isinstance(camera, dict)]
    peak = _largest(number_at(camera, 'peak') for camera in cameras)
    threshold = _largest(number_at(camera, 'threshold') for camera in cameras)
    seconds = _largest(number_at(c, 'last_stamp') - number_at(c, 'first_stamp') for c in cameras)
    try:
        made = dt.datetime.fromisoformat(str(facts.get('created'))).strftime('%Y-%m-%d %H:%M:%S')
    except ValueError:
        made = '?'
    mark = facts.get('mark')
    note = mark.get('note') if recording.mark else ''
    told = (
        f'{facts.get("frames")} frames in {seconds:.1f} s, '
        + ('no score' if math.isnan(peak) else f'peak {peak:.4g} over {threshold:.4g}')
        if cameras
        else str(facts.get('ended', '?'))
    )
    return f'{recording.mark or "-":4s} {made}  {told}  {recording.path}' + (
        f'  ({note})' if note else ''
    )


def _largest(values: Iterable[float]) -> float:
    """Return the largest number; NaN where there is none, as of cameras without any score."""
    return max((value for value in values if not math.isnan(value)), default=math.nan)
