"""The options of ``ood_monitor train`` that are settings, and those that say with what."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any, Final

from ros_ood_monitor.cli.arguments import add_executor, at_least, names, positive, share

__all__ = [
    'add_frame_options',
    'add_model_options',
    'add_resource_options',
    'add_setting',
    'given_settings',
]

_SETTING: Final = 'setting:'


def add_setting(group: Any, key: str, *flags: str, **options: Any) -> None:
    """
    Add an option that sets a key of the settings where it is given.

    Parameters
    ----------
    group : argparse._ActionsContainer
        Of the verb.
    key : str
        Dotted name of the setting.
    *flags : str
        Of the option.
    **options
        As for `argparse.ArgumentParser.add_argument`.

    """
    group.add_argument(*flags, dest=f'{_SETTING}{key}', default=argparse.SUPPRESS, **options)


def given_settings(args: argparse.Namespace) -> dict[str, Any]:
    """
    Return the settings that were given as options.

    Parameters
    ----------
    args : argparse.Namespace
        Of the verb.

    Returns
    -------
    dict of str to any
        By dotted name.

    """
    return {
        key.removeprefix(_SETTING): value
        for key, value in vars(args).items()
        if key.startswith(_SETTING)
    }


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add what decides on the model."""
    group = parser.add_argument_group('what is trained')
    _add_backbone(group)
    _add_detector(group)
    _add_map(group)
    _add_flow(group)
    _add_calibration(group)


def _add_backbone(group: Any) -> None:
    add = partial(add_setting, group)
    add(
        'backbone',
        '--backbone',
        metavar='NAME',
        help='efficientnet_lite0 (default), _lite1, _lite2, mobilenet_v2, '
        'torchvision:MODEL[:WEIGHTS], or a FILE.onnx',
    )
    add('weights', '--weights', metavar='FILE', help='state dict instead of its own weights')
    add(
        'taps',
        '--taps',
        type=names,
        metavar='all|NAME,...',
        help='stages of the backbone to score (default: all); the backbone is cut after the last '
        'one',
    )
    add(
        'input_size',
        '--input-size',
        type=at_least(32),
        metavar='PX',
        help="height and width of the network's input (default: what its weights were made for)",
    )
    add(
        'tiles',
        '--tiles',
        metavar='ROWSxCOLUMNS',
        help='see a frame in so many parts, each of the input size, for small things in large '
        'frames; a frame then costs rows x columns times as much (default: 1x1)',
    )
    add(
        'normalization',
        '--normalization',
        choices=('l2', 'radial', 'none'),
        help='of features: to unit length (default), by a power of the length chosen on held-out '
        'frames, or none',
    )


def _add_detector(group: Any) -> None:
    add = partial(add_setting, group)
    add(
        'density',
        '--density',
        choices=(
            'auto',
            'evidence',
            'flow',
            'mahalanobis',
            'ppca',
            'mean_distance',
            'pca_residual',
            'knn',
            'vim',
            'woods',
        ),
        metavar='NAME',
        help='detector of each stage; auto (default): flow up to 320 channels, else mahalanobis; '
        'evidence: all are fitted, and one is chosen by pseudo-OOD; or one for all: flow, '
        'mahalanobis, ppca, mean_distance, pca_residual, knn; vim: on the head of a backbone '
        'whose classifier is known, auto on the others; woods: what the frames of --wild teach, '
        'for all stages together',
    )
    add(
        'unmask.method',
        '--unmask',
        choices=('um', 'umap', 'none'),
        help='learn the classes of the frames (a folder for each in --data) and forget the '
        'atypical ones: um fine-tunes weights, umap drops some of them; see docs/unmask.md',
    )
    add(
        'unmask.part',
        '--unmask-part',
        choices=('all', 'block', 'head'),
        help='what is trained: the whole backbone, its last stage (block, the default), or the '
        'classifier alone, which --density vim reads',
    )


def _add_map(group: Any) -> None:
    add = partial(add_setting, group)
    add(
        'map',
        '--map',
        type=names,
        metavar='auto|none|NAME,...',
        help='stages of the backbone whose grids make the map that shows where; auto (default): '
        'those of 8 and 16 input px per cell, or the nearest',
    )
    add(
        'map_density',
        '--map-density',
        choices=(
            'auto',
            'flow',
            'mahalanobis',
            'ppca',
            'mean_distance',
            'pca_residual',
            'knn',
        ),
        metavar='NAME',
        help='detector of the cells of the map; auto (default): mahalanobis, or with --density '
        'evidence the one that finds pasted defects best',
    )
    add(
        'coreset',
        '--coreset',
        type=_coreset,
        metavar='auto|N',
        help='points that the detector knn keeps, of each stage and of the cells of the map: more '
        'find more, and cost time and memory in proportion; auto (default): a quarter, at most '
        '1024',
    )


def _add_flow(group: Any) -> None:
    add = partial(add_setting, group)
    add(
        'flow.preset',
        '--flow',
        choices=('default', 'realnvp', 'fde_paper'),
        help='how flows are built and trained; see docs/training.md',
    )
    add(
        'flow.steps',
        '--steps',
        type=at_least(0),
        metavar='N',
        help='most optimiser steps of a flow (default: 2000)',
    )


def _add_calibration(group: Any) -> None:
    add = partial(add_setting, group)
    add(
        'precisions',
        '--precisions',
        type=names,
        metavar='NAME,...',
        help='precisions of the backbone in the bundle: fp32 (default), fp16, cpu-int8, trt-int8; '
        'the first one is what a node uses unless told otherwise',
    )
    add(
        'alpha',
        '--alpha',
        type=share,
        metavar='SHARE',
        help='share of held-out frames allowed over the trigger threshold (default: 0.01)',
    )
    add(
        'false_alerts_per_hour',
        '--false-alerts-per-hour',
        type=positive,
        metavar='R',
        help='set the alert for this rate where the held-out sequences can support it, else say '
        'why not; takes whole bags with 3/R hours held out. `ood_monitor calibrate` does it later',
    )
    add('seed', '--seed', type=at_least(0), metavar='N', help='of all chance (default: 0)')


def add_frame_options(parser: argparse.ArgumentParser) -> None:
    """Add what decides on the frames."""
    group = parser.add_argument_group('which frames')
    add = partial(add_setting, group)
    add(
        'split',
        '--split',
        choices=('auto', 'sequence', 'block'),
        help='hold out whole sequences (a bag, or a folder that holds images) or contiguous '
        'blocks; auto (default): sequences for bags where there are enough, else blocks',
    )
    add(
        'selection.topics',
        '--topic',
        action='append',
        metavar='TOPIC',
        help='image topic of the bags; may be given again (default: every one but depth)',
    )
    add(
        'selection.every',
        '--every',
        '--stride',
        type=at_least(1),
        metavar='N',
        help="take each sequence's every n-th frame only (default: 1)",
    )
    add('selection.start', '--start', type=float, metavar='S', help='from S s into each bag on')
    add('selection.end', '--end', type=float, metavar='S', help='up to S s into each bag')
    add(
        'near_duplicates',
        '--near-duplicates',
        type=float,
        metavar='GREY',
        help='leave out frames whose 16x16 grey thumbnail differs by less (root mean square, grey '
        'levels) from any of the last 32 taken; 2 is a good start (default: 0, keep all)',
    )
    add(
        'data_licence',
        '--data-licence',
        metavar='TEXT',
        help="licence line of the data in the bundle's manifest",
    )


def add_resource_options(parser: argparse.ArgumentParser) -> None:
    """Add what a training is computed with."""
    group = parser.add_argument_group('with what')
    add_setting(
        group,
        'threads',
        '--threads',
        type=at_least(1),
        metavar='N',
        help='CPU threads (default: 1)',
    )
    group.add_argument(
        '--workers',
        type=at_least(0),
        default=None,
        metavar='N',
        help='threads beside the main one: they decode, run the backbone and fit stages side by '
        'side (default: one fewer than there are cores, at most 3)',
    )
    group.add_argument(
        '--device',
        default='auto',
        choices=('auto', 'cpu', 'cuda'),
        help='where features are computed; auto (default): a GPU if torch sees one',
    )
    group.add_argument(
        '--cache',
        metavar='DIR',
        help='folder that keeps features, so that nothing is computed twice and an interrupted '
        'training goes on (default: ood_monitor/features in the cache folder of the user)',
    )
    group.add_argument('--no-cache', action='store_true', help='keep no features')
    add_executor(group, shard='a recording or folder', jobs=False)


def _coreset(text: str) -> int | None:
    from ros_ood_monitor.training.settings.train_settings import CORESET_SIZES

    if text == 'auto':
        return None
    try:
        return int(text)  # its range is a setting's
    except ValueError:
        least, most = CORESET_SIZES
        msg = f'expected auto or {least} to {most} points, got {text!r}'
        raise argparse.ArgumentTypeError(msg) from None
