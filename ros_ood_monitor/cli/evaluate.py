"""``ood_monitor evaluate``: how well a bundle does on recorded bags, or on folders of images."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
from typing import Any, Final

from ros_ood_monitor.cli.arguments import add_executor, at_least, not_negative

__all__ = ['add_parser', 'run']

_OF_IMAGES: Final = ('ood', 'masks', 'boxes', 'sheet')
_OF_BAGS: Final = (
    'bags', 'labels', 'label_topic', 'all_id', 'all_ood', 'topic', 'every', 'ignore_margin',
    'refractory', 'against', 'parquet', 'jobs', 'executor', 'address', 'cache', 'no_cache',
    'keep_going', 'write_bag', 'with_images',
)  # fmt: skip
"""Options that mean something for one of the two only; none has a default that says something."""

_REPORTS: Final = ('.html', '.md', '.markdown', '.txt')


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'evaluate',
        help='AUROC, AUPR, FPR95, events and false alerts on bags, or on folders of images',
        description='Scores every frame of recorded bags as the node scores frames, holds scores '
        'and alerts against labels, and prints how well the bundle tells the frames apart, which '
        'events it found and how soon, and how often it alerted for nothing. With --images it '
        'does that for JPEG and PNG files, which have no events; where the bundle has maps and '
        'masks or boxes are known, also how well the maps find the anomalous pixels. ROS is not '
        'needed.',
    )
    parser.add_argument('bundle', help='folder or .zip of a bundle, or the name of a shipped one')
    _add_bags(parser.add_argument_group('bags'))
    _add_images(parser.add_argument_group('folders of images'))
    parser.add_argument(
        '--json', metavar='FILE', help='write all numbers there (with --images every score, too)'
    )
    parser.add_argument(
        '--report',
        metavar='FILE',
        help='write a report there: of bags, a .html page with everything in it, and JSON and '
        'Parquet beside it; .md or .txt: the tables as Markdown',
    )
    parser.add_argument(
        '--gate',
        metavar='FILE',
        help='YAML of limits by the names that --json uses, such as '
        '"together.frames.auroc: {min: 0.95}"; ends with 1 where one is not kept',
    )
    parser.add_argument('--engine', default='auto', help='inference library (default: auto)')
    parser.add_argument('--precision', help="one of the bundle's (default: its first)")
    parser.add_argument(
        '--threads', type=at_least(1), default=1, metavar='N', help='CPU threads (default: 1)'
    )
    parser.add_argument(
        '--seed',
        type=at_least(0),
        default=0,
        metavar='N',
        help='seed of the bootstrap intervals (default: 0)',
    )
    parser.set_defaults(run=run)


def _add_bags(group: Any) -> None:
    group.add_argument(
        'bags',
        nargs='*',
        metavar='BAG',
        help="a bag's folder, or one .mcap or .db3 file, with labels.yaml in it or beside it",
    )
    group.add_argument(
        '--labels',
        metavar='FILE',
        help='labels of all bags, .yaml or .csv: start, end, kind, camera, bag, time',
    )
    group.add_argument(
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


def _add_images(group: Any) -> None:
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


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the tables, write the files asked for, and hold figures against limits."""
    from ros_ood_monitor.errors import ParameterError
    from ros_ood_monitor.evaluation.gate import read_gate
    from ros_ood_monitor.replay import check_output

    others = _OF_BAGS if args.images else _OF_IMAGES
    foreign = [name for name in others if _is_given(getattr(args, name))]
    if foreign:
        given = 'BAG' if foreign[0] == 'bags' else f'--{foreign[0].replace("_", "-")}'
        msg = (
            f'{given} is of {"bags" if args.images else "folders of images"}: an evaluation '
            'takes either bags or --images'
        )
        raise ParameterError(msg)
    gate = read_gate(args.gate) if args.gate else {}
    if args.report and not is_page(args.report):
        check_output(args.report, _REPORTS)
    if args.images:
        return _run_images(args, gate)
    from ros_ood_monitor.cli.evaluate_bags import run_bags

    return run_bags(args, gate)


def _is_given(value: Any) -> bool:
    return value is not None and value is not False and value != []


def _run_images(args: argparse.Namespace, gate: dict[str, Any]) -> int:
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.engines import open_engine
    from ros_ood_monitor.errors import ParameterError
    from ros_ood_monitor.evaluation import report
    from ros_ood_monitor.evaluation.evaluate import evaluate
    from ros_ood_monitor.evaluation.gate import hold_gate
    from ros_ood_monitor.evaluation.sheet import save_sheet
    from ros_ood_monitor.evaluation.timeline import check_plot
    from ros_ood_monitor.share import bundle_path

    if args.sheet:
        check_plot(args.sheet)
    if args.report and is_page(args.report):
        msg = f'the report on folders of images is Markdown; name it .md: {args.report}'
        raise ParameterError(msg)
    bundle = Bundle.load(bundle_path(args.bundle))
    engine = open_engine(bundle, args.engine, precision=args.precision, threads=args.threads)
    try:
        result = evaluate(
            bundle,
            engine,
            images=args.images,
            ood=args.ood,
            masks=args.masks,
            boxes=args.boxes,
            seed=args.seed,
            progress=_show if sys.stderr.isatty() else None,
        )
    finally:
        engine.close()
    print(report.to_text(result), end='')
    if args.json:
        report.write_text(args.json, report.to_json(result))
    if args.report:
        report.write_text(args.report, report.markdown(result))
    if args.sheet:
        save_sheet(args.sheet, result)
    return end_of_gate(hold_gate(report.facts(result), gate))


def is_page(report: str) -> bool:
    """Return whether a report is to be a page in HTML."""
    from ros_ood_monitor.evaluation.bags.html_page import HTML_SUFFIXES

    return Path(report).suffix.lower() in HTML_SUFFIXES


def end_of_gate(outcome: Any) -> int:
    """
    Say what came of limits.

    Parameters
    ----------
    outcome : GateOutcome or None
        From `hold_gate`.

    Returns
    -------
    int
        The exit code: 1 where a limit is not kept.

    Raises
    ------
    ParameterError
        If the limits could not be held against anything.

    """
    from ros_ood_monitor.errors import ParameterError

    if outcome is None:
        return 0
    if outcome.error:
        raise ParameterError(outcome.error)
    for one in outcome.short:
        print(f'gate: {one}', file=sys.stderr)
    if outcome.is_kept:
        print(f'gate: all {outcome.limits} limits kept')
    return 0 if outcome.is_kept else 1


def _show(name: str, done: int, total: int) -> None:
    end = '\n' if done == total else ''
    print(f'\r{name}: {done} of {total}', end=end, file=sys.stderr, flush=True)
