"""What ``ood_monitor evaluate`` does with bags."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import contextlib
from datetime import datetime, timezone
import logging
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

from ros_ood_monitor.cli.arguments import check_with_images, chosen_executor
from ros_ood_monitor.cli.console import Console
from ros_ood_monitor.cli.evaluate_output import end_of_gate, is_page
from ros_ood_monitor.cli.inspect import card
from ros_ood_monitor.cli.wording import count

if TYPE_CHECKING:
    from ros_ood_monitor.evaluation.bags.compare import Comparison
    from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
    from ros_ood_monitor.evaluation.gate import GateOutcome

__all__ = ['run_bags']

_LOGGER = 'ros_ood_monitor'


def run_bags(args: argparse.Namespace, gate: dict[str, Any]) -> int:
    """
    Evaluate bundles on bags, print the tables and write the files asked for.

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
    from ros_ood_monitor.evaluation.bags import report
    from ros_ood_monitor.evaluation.bags.compare import compare
    from ros_ood_monitor.evaluation.bags.facts import facts
    from ros_ood_monitor.evaluation.gate import hold_gate
    from ros_ood_monitor.evaluation.tables import write_text

    page = _check_outputs(args)
    found = _evaluate(args)
    first, *others = found
    comparisons = [compare(first, other) for other in others]
    plain = facts(first, comparisons)
    outcome = hold_gate(plain, gate)
    print(report.to_text(first, comparisons), end='')
    _write_figures(args, found, plain, outcome)
    if page is not None:
        _write_page(args, page, first, comparisons, outcome)
    elif args.report:
        write_text(args.report, report.markdown(first, comparisons))
    if args.write_bag:
        _write_bags(args, first)
    code = end_of_gate(outcome)
    failed = {bag.path for one in found for bag in one.failed}
    if failed:
        print(f'{count(len(failed), "bag")} could not be evaluated', file=sys.stderr)
    return 1 if failed and not args.keep_going else code


def _check_outputs(args: argparse.Namespace) -> Path | None:
    """Refuse outputs that cannot be written; return the page, with JSON and Parquet beside it."""
    from ros_ood_monitor.evaluation.bags.frame_file import check_frames
    from ros_ood_monitor.evaluation.bags.html_page import check_html
    from ros_ood_monitor.evaluation.bags.written import check_written

    page = Path(args.report) if args.report and is_page(args.report) else None
    if page is not None:
        check_html(page)
        args.json = args.json or page.with_suffix('.json')
        args.parquet = args.parquet or page.with_suffix('.parquet')
    if args.parquet:
        check_frames(args.parquet)
    check_with_images(args)
    if args.write_bag:
        whole = [*args.bags, *(args.all_id or ()), *(args.all_ood or ())]
        check_written(Path(args.write_bag), [Path(bag) for bag in whole])
    return page


def _evaluate(args: argparse.Namespace) -> list[BagEvaluation]:
    """Evaluate the bundle, then those that it is held against."""
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.evaluation.bags.evaluate import evaluate_bags, Settings
    from ros_ood_monitor.evaluation.bags.given import LabelChoice
    from ros_ood_monitor.evaluation.bags.runs import Scoring
    from ros_ood_monitor.evaluation.bags.store import default_store
    from ros_ood_monitor.share import bundle_path

    executor = chosen_executor(args, threads=args.threads)
    given = {} if args.ignore_margin is None else {'ignore_margin': args.ignore_margin}
    settings = Settings(refractory=args.refractory, seed=args.seed, **given)
    labels = LabelChoice(
        file=Path(args.labels) if args.labels else None,
        topic=args.label_topic or '',
        all_id=tuple(map(Path, args.all_id or ())),
        all_ood=tuple(map(Path, args.all_ood or ())),
    )
    bundles = [bundle_path(bundle) for bundle in (args.bundle, *(args.against or ()))]
    for bundle in bundles:  # none is scored before all are known to be there
        Bundle.load(bundle)
    store = None if args.no_cache else Path(args.cache) if args.cache else default_store()
    session = executor.session() if args.against else contextlib.nullcontext()
    with _quiet_log(), _interrupt_explained(kept=store is not None), session:
        return [
            evaluate_bags(
                Scoring(
                    bundle,
                    engine=args.engine,
                    precision=args.precision,
                    threads=args.threads,
                    topics=None if args.topic is None else tuple(args.topic),
                    every=args.every or 1,
                ),
                [Path(bag) for bag in args.bags],
                labels,
                settings=settings,
                executor=executor,
                store=store,
                progress=Console(quiet=args.quiet).bar,
            )
            for bundle in bundles
        ]


def _write_figures(
    args: argparse.Namespace,
    found: list[BagEvaluation],
    plain: dict[str, Any],
    outcome: GateOutcome | None,
) -> None:
    """Write JSON and Parquet, as far as they were asked for."""
    from ros_ood_monitor import __version__
    from ros_ood_monitor.evaluation.bags.facts import to_json
    from ros_ood_monitor.evaluation.bags.frame_file import write_frames
    from ros_ood_monitor.evaluation.tables import write_text

    plain['gate'] = None if outcome is None else outcome.facts()
    plain['made'] = {
        'version': __version__,
        'time': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'command': args.command,
    }
    if args.json:
        write_text(args.json, to_json(plain))
    if args.parquet:
        write_frames(args.parquet, found)


def _write_page(
    args: argparse.Namespace,
    page: Path,
    first: BagEvaluation,
    comparisons: list[Comparison],
    outcome: GateOutcome | None,
) -> None:
    from ros_ood_monitor.evaluation.bags.html_page import write_html

    write_html(
        page,
        first,
        comparisons,
        command=args.command,
        card=card(first.bundle),
        gate=outcome,
        beside={
            Path(args.json).name: 'all figures, events and alerts (JSON)',
            Path(args.parquet).name: 'every frame (Parquet)',
        },
    )


def _write_bags(args: argparse.Namespace, first: BagEvaluation) -> None:
    from ros_ood_monitor.evaluation.bags.written import write_bags

    with _quiet_log():
        for made in write_bags(
            Path(args.write_bag),
            first,
            with_images=args.with_images,
            progress=Console(quiet=args.quiet).bar,
        ):
            print(f'wrote {made}')


@contextlib.contextmanager
def _quiet_log() -> Iterator[None]:
    """Keep log lines from the terminal: what they tell of bags stands in the notes."""
    logger = logging.getLogger(_LOGGER)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _interrupt_explained(*, kept: bool) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        what = (
            'the scores of finished bags are kept; the same command goes on'
            if kept
            else 'no scores were kept'
        )
        raise KeyboardInterrupt(what) from None
