"""Values of options, refused by the parser with the option's name before anything is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Callable
import math
from pathlib import Path
from typing import Any, TYPE_CHECKING

from ros_ood_monitor.errors import ParameterError

if TYPE_CHECKING:
    from ros_ood_monitor.shards import Local, RayCluster

__all__ = [
    'UsageError',
    'add_device',
    'add_executor',
    'at_least',
    'check_with_images',
    'chosen_executor',
    'names',
    'not_negative',
    'positive',
    'share',
]


class UsageError(ParameterError):
    """Options that contradict each other: refused as the parser refuses, with exit code 2."""


def at_least(least: int) -> Callable[[str], int]:
    """
    Return a converter for whole numbers with a lower limit.

    Parameters
    ----------
    least : int
        The smallest number allowed.

    Returns
    -------
    callable
        For the ``type`` of an argument.

    """

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            msg = f'expected a whole number of at least {least}, got {text!r}'
            raise argparse.ArgumentTypeError(msg)
        return value

    return convert


def names(text: str) -> list[str]:
    """Return different names that stand with commas between them."""
    found = [name.strip() for name in text.split(',')]
    if not all(found) or len(set(found)) != len(found):
        msg = f'expected different names with commas between them, got {text!r}'
        raise argparse.ArgumentTypeError(msg)
    return found


def share(text: str) -> float:
    """Return a number between 0 and 1, both excluded."""
    return _number(text, 0.0, 1.0, 'a number between 0 and 1')


def positive(text: str) -> float:
    """Return a finite number over 0."""
    return _number(text, 0.0, math.inf, 'a number over 0')


def not_negative(text: str) -> float:
    """Return a finite number of at least 0."""
    return _number(text, math.nextafter(0.0, -1.0), math.inf, 'a number of at least 0')


def add_device(parser: argparse.ArgumentParser) -> None:
    """
    Add the options that say which GPU, and where its engines lie.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of the verb.

    """
    parser.add_argument(
        '--device', type=at_least(0), default=0, metavar='N', help='the GPU (default: 0)'
    )
    parser.add_argument(
        '--cache', type=Path, metavar='DIR', help='where engines are kept (default: see docs)'
    )


def add_executor(group: Any, *, shard: str, jobs: bool = True) -> None:
    """
    Add the options that say where shards are worked on.

    Parameters
    ----------
    group : argparse._ArgumentGroup
        Of the verb.
    shard : str
        What a shard is, such as "a bag".
    jobs : bool, default True
        Whether there are local processes to count.

    """
    if jobs:
        group.add_argument(
            '--jobs',
            type=at_least(1),
            metavar='N',
            help=f'processes that take {shard} each (default: 1; of Ray on this machine: its '
            'number of cores)',
        )
    group.add_argument(
        '--executor',
        choices=('local', 'ray'),
        help=f'this machine, or workers of Ray that take {shard} each (default: local)',
    )
    group.add_argument(
        '--address',
        metavar='HOST:PORT',
        help="of a Ray cluster's head, or auto; its machines see the same files under the same "
        'paths (default: Ray on this machine)',
    )


def chosen_executor(args: argparse.Namespace, *, threads: int = 1) -> Local | RayCluster:
    """
    Return where shards are worked on.

    Parameters
    ----------
    args : argparse.Namespace
        With the options of `add_executor`.
    threads : int, default 1
        Cores that a shard takes.

    Returns
    -------
    Local or RayCluster
        Processes of this machine, or workers.

    Raises
    ------
    UsageError
        If options contradict each other.

    """
    from ros_ood_monitor.shards import Local, RayCluster

    jobs = getattr(args, 'jobs', None)
    if args.executor != 'ray':
        if args.address:
            msg = '--address is of a Ray cluster: give --executor ray, too'
            raise UsageError(msg)
        return Local(jobs or 1)
    if args.address and jobs:
        msg = '--jobs is of this machine: the cluster at --address has its own number of cores'
        raise UsageError(msg)
    return RayCluster(args.address or '', jobs=jobs or 0, threads=threads)


def check_with_images(args: argparse.Namespace) -> None:
    """
    Refuse ``--with-images`` where no bag is written.

    Parameters
    ----------
    args : argparse.Namespace
        With ``with_images`` and ``write_bag``.

    Raises
    ------
    UsageError
        If it is given alone.

    """
    if args.with_images and not args.write_bag:
        msg = '--with-images is of the bag that --write-bag makes: give that, too'
        raise UsageError(msg)


def _number(text: str, low: float, high: float, expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low < value < high:
        msg = f'expected {expected}, got {text!r}'
        raise argparse.ArgumentTypeError(msg)
    return value
