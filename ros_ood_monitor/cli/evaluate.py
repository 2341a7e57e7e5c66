"""``ood_monitor evaluate``: how well a bundle tells folders of images apart."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ros_ood_monitor.cli.arguments import at_least

__all__ = ['add_parser', 'run']


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'evaluate',
        help='AUROC, AUPR and FPR95 on folders of images',
        description='Scores folders of JPEG and PNG files as the node scores frames, and prints '
        'how well they separate; where the bundle has maps and masks or boxes are known, also how '
        'well the maps find the anomalous pixels. Folders only: a bag is scored by `ood_monitor '
        'replay`.',
    )
    parser.add_argument('bundle', help='folder or .zip of a bundle, or the name of a shipped one')
    parser.add_argument(
        '--images',
        required=True,
        metavar='DIR',
        help='in-distribution images that the bundle was not trained on; or a category in the '
        'MVTec layout (test/good, test/<kind>, ground_truth/<kind>)',
    )
    parser.add_argument(
        '--ood',
        nargs='+',
        default=[],
        metavar='DIR',
        help='out-of-distribution images (MVTec layout: not needed)',
    )
    places = parser.add_mutually_exclusive_group()
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
    parser.add_argument('--json', metavar='FILE', help='write all numbers and scores there')
    parser.add_argument('--report', metavar='FILE', help='write the table as Markdown there')
    parser.add_argument(
        '--sheet',
        metavar='FILE',
        help='draw the worst false alarms and misses there (.png .svg .pdf)',
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
        help='seed of the bootstrap interval (default: 0)',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table and write the files asked for."""
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.engines import open_engine
    from ros_ood_monitor.evaluation import report
    from ros_ood_monitor.evaluation.evaluate import evaluate
    from ros_ood_monitor.evaluation.sheet import save_sheet
    from ros_ood_monitor.evaluation.timeline import check_plot
    from ros_ood_monitor.share import bundle_path

    if args.sheet:
        check_plot(args.sheet)
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
    return 0


def _show(name: str, done: int, total: int) -> None:
    end = '\n' if done == total else ''
    print(f'\r{name}: {done} of {total}', end=end, file=sys.stderr, flush=True)
