"""What ``ood_monitor evaluate`` does with folders of images."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from ros_ood_monitor.cli.evaluate_output import end_of_gate, is_page

__all__ = ['run_images']


def run_images(args: argparse.Namespace, gate: dict[str, Any]) -> int:
    """
    Evaluate a bundle on images, print the tables and write the files asked for.

    Parameters
    ----------
    args : argparse.Namespace
        Of the verb.
    gate : dict of str to Limit
        Limits to keep.

    Returns
    -------
    int
        The exit code.

    """
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.cli.console import Console
    from ros_ood_monitor.engines import open_engine
    from ros_ood_monitor.errors import ParameterError
    from ros_ood_monitor.evaluation.gate import hold_gate
    from ros_ood_monitor.evaluation.images import report
    from ros_ood_monitor.evaluation.images.evaluate import evaluate
    from ros_ood_monitor.evaluation.images.sheet import save_sheet
    from ros_ood_monitor.evaluation.tables import write_text
    from ros_ood_monitor.evaluation.timeline import check_plot
    from ros_ood_monitor.share import bundle_path

    if args.sheet:
        check_plot(args.sheet)
    if args.report and is_page(args.report):
        msg = f'the report on folders of images is Markdown; name it .md: {args.report}'
        raise ParameterError(msg)
    bundle = Bundle.load(bundle_path(args.bundle))
    engine = open_engine(bundle, args.engine, precision=args.precision, threads=args.threads)
    with (
        contextlib.closing(engine),
        Console(quiet=args.quiet) as console,
        console.counting() as show,
    ):
        result = evaluate(
            bundle,
            engine,
            images=args.images,
            ood=args.ood,
            masks=args.masks,
            boxes=args.boxes,
            seed=args.seed,
            progress=lambda name, done, total: show(name, f'{done} of {total}'),
        )
    print(report.to_text(result), end='')
    if args.json:
        write_text(args.json, report.to_json(result))
    if args.report:
        write_text(args.report, report.markdown(result))
    if args.sheet:
        save_sheet(args.sheet, result)
    return end_of_gate(hold_gate(report.facts(result), gate))
