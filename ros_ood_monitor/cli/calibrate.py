"""``ood_monitor calibrate``: an operating point with a stated rate of false alerts."""

from __future__ import annotations

import argparse
from pathlib import Path
import time
from typing import Any, TYPE_CHECKING

from ros_ood_monitor.cli.arguments import at_least, not_negative, positive, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.cli.console import Console
    from ros_ood_monitor.evaluation.held_out.recordings import HeldOut
    from ros_ood_monitor.rate_calibration import RateCalibration
    from ros_ood_monitor.rate_calibration.score_streams import ScoreStream

__all__ = ['add_parser', 'run']

_TOLD_EVERY = 5.0
"""Time between two lines of progress, in s."""


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'calibrate',
        help='set the alert for a rate of false alerts, measured on recordings',
        description='Replays recordings of normal operation that training did not see, chooses '
        'the limit of the alert logic on one part of them, counts the false alerts of the other '
        'part, and writes the bundle with that operating point and what can be said of its rate. '
        'Stating R false alerts per hour takes 3/R quiet hours, and about twice that in all; '
        'exits with 1 where the recordings cannot support it.',
    )
    parser.add_argument('bundle', help='folder or .zip of a bundle, or the name of a shipped one')
    parser.add_argument(
        'recordings',
        nargs='+',
        metavar='BAG',
        help="a bag's folder, one .mcap or .db3 file, or a folder of images in sequence (--rate)",
    )
    parser.add_argument(
        '--false-alerts-per-hour',
        required=True,
        type=positive,
        metavar='R',
        help='at most so many per hour of normal operation, of a recording with all its cameras',
    )
    parser.add_argument('--out', required=True, metavar='BUNDLE', help='folder of the new bundle')
    parser.add_argument('--overwrite', action='store_true', help='replace a bundle that is there')
    parser.add_argument('--logic', help="alert logic (default: the bundle's)")
    parser.add_argument(
        '--refractory',
        type=not_negative,
        metavar='S',
        help='an alert within S s after the end of the last one is the same; at most a tenth of '
        'the time between alerts at the rate R (default: 10, or that where it is less)',
    )
    parser.add_argument(
        '--extrapolate',
        action='store_true',
        help='where there are too few hours, take the tail of the alerts that there are; marked '
        'as an extrapolation in the bundle and wherever the rate is shown; with a tenth of the '
        'hours at least',
    )
    parser.add_argument(
        '--topic',
        action='append',
        metavar='TOPIC',
        help='image topic of the bags; may be given again (default: every camera)',
    )
    parser.add_argument(
        '--every', type=at_least(1), default=1, metavar='N', help='every n-th frame (default: 1)'
    )
    parser.add_argument(
        '--rate', type=positive, metavar='HZ', help='frame rate of folders of images'
    )
    parser.add_argument('--engine', default='auto', help='inference library (default: auto)')
    parser.add_argument(
        '--precision',
        action='append',
        help="one of the bundle's; may be given again (default: all of them). The others keep the "
        'operating point that they have',
    )
    parser.add_argument(
        '--threads', type=at_least(1), default=1, metavar='N', help='CPU threads (default: 1)'
    )
    parser.add_argument(
        '--seed',
        type=at_least(0),
        default=0,
        metavar='N',
        help='of the choice of the parts and of the bootstrap (default: 0)',
    )
    parser.add_argument('--json', metavar='FILE', help='write all figures there')
    parser.add_argument(
        '--cache',
        metavar='DIR',
        help='where the scores of bags are kept for the next run, and those of `evaluate` are '
        'found (default: ood_monitor/scores in the cache folder of the user)',
    )
    parser.add_argument('--no-cache', action='store_true', help='keep no scores, and use none')
    parser.add_argument('--quiet', action='store_true', help='print warnings and errors only')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Calibrate every precision, print the statements and write the bundle."""
    from ros_ood_monitor.alerting import LOGICS
    from ros_ood_monitor.atomic import check_output
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.cli.console import Console
    from ros_ood_monitor.evaluation.held_out.recalibrate import write_recalibrated
    from ros_ood_monitor.evaluation.held_out.recordings import find_held_out
    from ros_ood_monitor.rate_calibration import check_refractory, usual_refractory
    from ros_ood_monitor.share import bundle_path
    from ros_ood_monitor.training.target import check_target

    if args.logic is not None and args.logic not in LOGICS:
        msg = f'unknown alert logic: expected one of {list(LOGICS)}, got {args.logic!r}'
        raise UsageError(msg)
    bundle = Bundle.load(bundle_path(args.bundle))
    check_target(Path(args.out), overwrite=args.overwrite)
    if args.json:
        check_output(args.json)
    asked = args.precision or bundle.manifest.precisions
    names = list(dict.fromkeys(bundle.precision(name) for name in asked))
    check_refractory(
        usual_refractory(args.false_alerts_per_hour)
        if args.refractory is None
        else args.refractory,
        args.false_alerts_per_hour,
    )
    with Console(quiet=args.quiet) as console:
        recordings = find_held_out(args.recordings)
        _check_before_scoring(args, bundle, recordings, console, names)
        found = {
            precision: _calibrate(args, bundle, precision, recordings, console)
            for precision in names
        }
        written = write_recalibrated(
            bundle,
            args.out,
            found,
            recordings=list(dict.fromkeys(recording.name for recording in recordings)),
            seed=args.seed,
            overwrite=args.overwrite,
        )
        console.print(f'wrote {written.path}, digest {written.digest[:12]}')
        if args.json:
            _write_json(args.json, written, found)
            console.print(f'wrote {args.json}')
    return 0


def _calibrate(
    args: argparse.Namespace,
    bundle: Bundle,
    precision: str,
    recordings: list[HeldOut],
    console: Console,
) -> RateCalibration:
    from ros_ood_monitor.cli.calibrate_wording import choice_lines, doubts, unsupported
    from ros_ood_monitor.errors import CalibrationError
    from ros_ood_monitor.rate_calibration import calibrate_rate

    streams = _score(args, bundle, precision, recordings, console)
    found = calibrate_rate(
        streams,
        bundle.calibration(precision),
        per_hour=args.false_alerts_per_hour,
        logic=args.logic,
        refractory=args.refractory,
        seed=args.seed,
        extrapolate=args.extrapolate,
        tell=_now_and_then(lambda text: console.print(f'{precision}: counting alerts, {text}')),
    )
    console.print(*choice_lines(precision, found))
    for line in doubts(precision, found):
        console.warn(line)
    problem = unsupported(precision, found.bound)
    if problem:
        raise CalibrationError(problem)
    return found


def _now_and_then(say: Callable[[str], None]) -> Callable[[str], None]:
    last = time.monotonic()

    def tell(text: str) -> None:
        nonlocal last
        if time.monotonic() - last > _TOLD_EVERY:
            last = time.monotonic()
            say(text)

    return tell


def _check_before_scoring(
    args: argparse.Namespace,
    bundle: Bundle,
    recordings: list[HeldOut],
    console: Console,
    precisions: list[str],
) -> None:
    """Refuse a logic or hours that cannot do, and tell what there is to score."""
    from ros_ood_monitor.cli.wording import count
    from ros_ood_monitor.evaluation.bags.store import ScoreStore
    from ros_ood_monitor.evaluation.held_out.recordings import hours_by_metadata
    from ros_ood_monitor.rate_calibration import check_hours, point_for
    from ros_ood_monitor.rate_calibration.score_streams import sequence_hours

    logics = [point_for(bundle.calibration(name), args.logic).logic for name in precisions]
    streams, frames = hours_by_metadata(
        recordings, topics=args.topic, every=args.every, frame_rate_hz=args.rate
    )
    hours = sum(sequence_hours(streams).values())
    times = f', {len(precisions)} times' if len(precisions) > 1 else ''
    console.print(
        f'{count(frames, "frame")} of {count(len(streams), "sequence")} to score{times}, '
        f'{hours:.3g} h at most'
    )
    for logic in logics if hours else ():
        check_hours(
            streams,
            per_hour=args.false_alerts_per_hour,
            seed=args.seed,
            extrapolate=args.extrapolate,
            logic=logic,
        )
    ScoreStore(_store(args)).check()


def _store(args: argparse.Namespace) -> Path | None:
    from ros_ood_monitor.evaluation.bags.store import default_store

    return None if args.no_cache else Path(args.cache) if args.cache else default_store()


def _score(
    args: argparse.Namespace,
    bundle: Bundle,
    precision: str,
    recordings: list[HeldOut],
    console: Console,
) -> list[ScoreStream]:
    from ros_ood_monitor.cli.wording import count
    from ros_ood_monitor.evaluation.held_out.scores import score_held_out
    from ros_ood_monitor.monitor import Monitor
    from ros_ood_monitor.rate_calibration.score_streams import sequence_hours

    monitor = Monitor.from_bundle(
        bundle, engine=args.engine, precision=precision, threads=args.threads
    )
    try:
        monitor.prove()
        scored = score_held_out(
            console.progress(recordings, len(recordings), unit='recording'),
            bundle,
            monitor.engine,
            topics=args.topic,
            every=args.every,
            frame_rate_hz=args.rate,
            store=_store(args),
        )
    finally:
        monitor.close()
    hours = sum(sequence_hours(scored.streams).values())
    frames = sum(len(stream.stamp) for stream in scored.streams)
    kept = f'; {scored.kept} of them in an earlier run' if scored.kept else ''
    console.print(
        f'{precision}: scored {count(frames, "frame")} of {count(len(recordings), "recording")}, '
        f'{hours:.3g} h{kept}'
    )
    return scored.streams


def _write_json(path: str, bundle: Bundle, found: dict[str, RateCalibration]) -> None:
    import json

    from ros_ood_monitor.evaluation.tables import write_text

    facts = {
        'bundle': bundle.manifest.name,
        'digest': bundle.digest,
        'precisions': {precision: one.card() for precision, one in found.items()},
    }
    write_text(path, json.dumps(facts, indent=2) + '\n')
