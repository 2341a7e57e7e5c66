"""The options of ``ood_monitor evaluate`` that are of bags, and those of folders of images."""

from __future__ import annotations

import argparse
from typing import Any, Final

from ros_ood_monitor.cli.arguments import add_executor, at_least, not_negative, UsageError

__all__ = ['add_bag_options', 'add_image_options', 'check_not_mixed']

_OF_IMAGES: Final = ('ood', 'masks', 'boxes', 'sheet')
_OF_BAGS: Final = (
    'bags', 'labels', 'label_topic', 'all_id', 'all_ood', 'topic', 'every', 'ignore_margin',
    'refractory', 'against', 'parquet', 'jobs', 'executor', 'address', 'cache', 'no_cache',
    'keep_going', 'write_bag', 'with_images',
)  # fmt: skip
"""Options that mean something for one of the two only; none has a default that says something."""


def add_bag_options(group: Any) -> None:
    """Add what is of recorded bags."""
    group.add_argument(
        'bags',
        nargs='*',
        metavar='BAG',
        help="a bag's folder, or one .mcap or .db3 file, with labels.yaml in it or beside it",
    )
    sources = group.add_mutually_exclusive_group()
    sources.add_argument(
        '--labels',
        metavar='FILE',
        help='labels of all bags, .yaml or .csv: start, end, kind, camera, bag, time',
    )
    sources.add_argument(
        '--label-topic',
        metavar='TOPIC',
        help='the bags have their labels in a topic, std_msgs/String (what is seen; empty: '
        'nothing) or Bool',
    )
    group.add_argument(
        '--all-id',
        action='append',
        metavar='BAG',
        help='a bag in which nothing foreign is seen; may be given again',
    )
    group.add_argument(
        '--all-ood',
        action='append',
        metavar='BAG',
        help='a bag in which nothing else is seen; may be given again',
    )
    group.add_argument(
        '--topic',
        action='append',
        metavar='TOPIC',
        help='image topic to score; may be given again (default: every one but depth)',
    )
    group.add_argument(
        '--every',
        type=at_least(1),
        metavar='N',
        help='score every n-th frame only; the alert logic then counts those (default: 1)',
    )
    group.add_argument(
        '--ignore-margin',
        type=not_negative,
        metavar='S',
        help='frames so near outside of a label count as neither, and alerts that begin there as '
        'its own, in s (default: 1)',
    )
    group.add_argument(
        '--refractory',
        type=not_negative,
        metavar='S',
        help='an alert that begins so soon after the last one is the same, in s (default: the '
        "bundle's)",
    )
    group.add_argument(
        '--against',
        action='append',
        metavar='BUNDLE',
        help='another bundle for the same bags, with paired differences; may be given again',
    )
    group.add_argument('--parquet', metavar='FILE', help='write a row for each frame there')
    group.add_argument(
        '--write-bag',
        metavar='BAG',
        help='replay the bags once more and write scores, observations, alerts and overlays as '
        'the node would have published them: a folder, or of one bag a file that ends in .mcap',
    )
    group.add_argument(
        '--with-images', action='store_true', help='copy the images into these bags, too'
    )
    add_executor(group, shard='a bag')
    group.add_argument(
        '--cache',
        metavar='DIR',
        help='where the scores of finished bags are kept, from which the same command goes on '
        '(default: ood_monitor/scores in the cache folder of the user)',
    )
    group.add_argument('--no-cache', action='store_true', help='keep no scores, and use none')
    group.add_argument(
        '--keep-going',
        action='store_true',
        help='end with 0 although bags could not be evaluated, as long as one could',
    )


def add_image_options(group: Any) -> None:
    """Add what is of folders of images."""
    group.add_argument(
        '--images',
        metavar='DIR',
        help='in-distribution images that the bundle was not trained on; or a category in the '
        'MVTec layout (test/good, test/<kind>, ground_truth/<kind>)',
    )
    group.add_argument(
        '--ood',
        nargs='+',
        default=[],
        metavar='DIR',
        help='out-of-distribution images (MVTec layout: beside its own kinds, not needed)',
    )
    places = group.add_mutually_exclusive_group()
    places.add_argument(
        '--masks',
        metavar='DIR',
        help='PNG masks of the out-of-distribution images, not black where anomalous: '
        '<name>_mask.png or <name>.png, in a folder for each of --ood or in one '
        '(MVTec layout: its ground_truth)',
    )
    places.add_argument(
        '--boxes',
        metavar='DIR',
        help='in the place of masks, <name>.txt with lines of left top right bottom [kind], in px',
    )
    group.add_argument(
        '--sheet',
        metavar='FILE',
        help='draw the worst false alarms and misses there (.png .svg .pdf)',
    )


def check_not_mixed(args: argparse.Namespace) -> None:
    """
    Refuse options of bags beside ``--images``, and the other way round.

    Parameters
    ----------
    args : argparse.Namespace
        Of the verb.

    Raises
    ------
    UsageError
        If one is given that means nothing here.

    """
    others = _OF_BAGS if args.images else _OF_IMAGES
    foreign = [name for name in others if _is_given(getattr(args, name))]
    if foreign:
        given = 'BAG' if foreign[0] == 'bags' else f'--{foreign[0].replace("_", "-")}'
        msg = (
            f'{given} is of {"bags" if args.images else "folders of images"}: an evaluation '
            'takes either bags or --images'
        )
        raise UsageError(msg)


def _is_given(value: Any) -> bool:
    return value is not None and value is not False and value != []
