"""``ood_monitor demo``: a bag played to the real node, its scores and alert, and a picture."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
from typing import Any

from ros_ood_monitor.cli.arguments import positive

__all__ = ['add_parser', 'run']

NAME = 'lunar_orbit'
BAR_WIDTH = 36
COLOURS = {'NORMAL': '32', 'SUSPECT': '33', 'ALERT': '1;31', 'STALE': '90', 'FAULT': '1;35'}


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'demo',
        help='play a small bag to the real node and draw what it said',
        description='Plays a bag to the real node, prints scores and alerts as they come, and '
        'draws an overview picture.',
    )
    parser.add_argument(
        '--bundle',
        default=NAME,
        help=f'bundle to run; a path or the name of a shipped one (default: {NAME})',
    )
    parser.add_argument('--bag', help='bag to play (default: the small one of the checkout)')
    parser.add_argument(
        '--rate',
        type=positive,
        default=3.0,
        metavar='FACTOR',
        help='pace as a multiple of the recorded one (default: 3)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('demo_out'),
        metavar='DIR',
        help='folder for the picture and the log of the node (default: demo_out)',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; 0 where the node ended cleanly."""
    from ros_ood_monitor.atomic import new_file
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.cli.wording import no_ros
    from ros_ood_monitor.errors import OodMonitorError
    from ros_ood_monitor.ros.demo.picture import draw_overview
    from ros_ood_monitor.ros.demo.seen import key_moments
    from ros_ood_monitor.share import bundle_path

    bundle = Bundle.load(bundle_path(args.bundle))
    bag = Path(args.bag) if args.bag else _shipped_bag()
    _check_bag(bag)
    try:
        from ros_ood_monitor.ros.demo.demo import run_demo
    except ImportError as error:
        raise OodMonitorError(no_ros('the demonstration', error)) from error
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f'cannot make the output folder: {error.strerror}: {args.out}'
        raise OodMonitorError(msg) from error

    truth = _labelled(bag)
    # the lowest held-out score: a scale that does not move while it is read
    printer = _Printer(truth, floor=float(bundle.calibration().raw_score[0]))
    print(f'bundle  {bundle.manifest.name}  ({bundle.path})')
    print(f'bag     {bag}, at {args.rate:g} times its pace or as fast as the node scores')
    print('node    ood_monitor, in a process of its own\n', flush=True)
    shown = run_demo(bundle.path, bag, rate=args.rate, log=args.out / 'node.log', tell=printer)
    if not shown.points:
        msg = f'the node scored no frame; its log says why: {args.out / "node.log"}'
        raise OodMonitorError(msg)
    picture = args.out / 'overview.png'
    moments = {point.stamp for point in key_moments(shown.points).values()}
    png = draw_overview(
        shown.points,
        _with_maps(bundle, _frames(bag, moments)),
        truth,
        title=f'{bundle.manifest.name}: a camera bag, scored frame by frame',
        unit=bundle.manifest.unit,
    )
    try:
        with new_file(picture) as file:
            file.write_bytes(png)
    except OSError as error:
        msg = f'cannot write the picture: {error.strerror}: {picture}'
        raise OodMonitorError(msg) from error
    print('\n' + '\n'.join(_summary(shown, truth)))
    print(f'\npicture: {picture}')
    return 0 if shown.exit_code == 0 else 1


def _labelled(bag: Path) -> list[Any]:
    """Return the stretches that the labels beside a bag name by image stamps; none without."""
    from ros_ood_monitor.evaluation.bags.labels import labels_beside, read_labels
    from ros_ood_monitor.ros.demo.seen import Interval

    file = labels_beside(bag)
    labels = read_labels(file) if file else ()
    return [Interval(one.start, one.end, one.kind) for one in labels if one.time == 'stamp']


class _Printer:
    """Prints a line a second of image time and one for every change of state."""

    def __init__(self, truth: list[Any], *, floor: float) -> None:
        self._truth = truth
        self._floor = floor
        self._start: float | None = None
        self._next = 0.0
        self._is_terminal = sys.stdout.isatty()

    def __call__(self, point: Any, is_new: bool) -> None:
        if self._start is None:
            self._start = point.stamp
            bar = f'{f"from {self._floor:.2f}, | = threshold":<{BAR_WIDTH}}'
            print(f'{"time":>8} {"raw_score":>10} {"score":>6}  {bar}  state')
        time = point.stamp - self._start
        if time < self._next and not is_new:
            return
        self._next = max(self._next, float(int(time)) + 1.0)
        state = point.state.value
        odd = any(i.start <= point.stamp <= i.end for i in self._truth)
        line = (
            f'{time:6.1f} s {point.raw_score:10.2f} {point.score:6.2f}  '
            f'{_bar(point, self._floor)}  {state:<8}{"<- labelled anomaly" if odd else ""}'
        ).rstrip()
        if self._is_terminal:
            line = f'\x1b[{COLOURS[state]}m{line}\x1b[0m'
        print(line, flush=True)


def _bar(point: Any, floor: float) -> str:
    """Draw the raw_score from the floor, the threshold in the middle; far over it is full."""
    middle = BAR_WIDTH // 2
    reach = point.threshold - floor
    is_over = point.raw_score > point.threshold
    ratio = (point.raw_score - floor) / reach if reach > 0.0 else 2.0 * is_over
    filled = max(0, min(BAR_WIDTH, round(ratio * middle)))
    cells = ['#'] * filled + [' '] * (BAR_WIDTH - filled)
    cells[middle] = '|'
    return ''.join(cells)


def _summary(shown: Any, truth: list[Any]) -> list[str]:
    from ros_ood_monitor.ros.demo.seen import alerts_of

    start = shown.points[0].stamp
    played, scored = shown.played.count, len(shown.points)
    seconds = max(shown.played.seconds, 1e-3)
    pace = (shown.points[-1].stamp - start) / seconds
    lines = [
        f'{scored} of {played} frames scored in {seconds:.1f} s, {pace:.1f} times the pace of the '
        f'bag{_unscored(shown)}'
    ]
    for alert in alerts_of(shown.points):
        lines.append(f'alert from {alert.start - start:.1f} s to {alert.end - start:.1f} s')
    for interval in truth:
        begin, end = interval.start - start, interval.end - start
        name = interval.label or 'anomaly'
        after = _lateness(interval, alerts_of(shown.points))
        lines.append(f'labelled {name} from {begin:.1f} s to {end:.1f} s: {after}')
    lines.append(f'node ended with exit code {shown.exit_code}')
    return lines


def _unscored(shown: Any) -> str:
    missing = shown.played.count - len(shown.points)
    if not missing:
        return ''
    unreceived = shown.played.count - shown.received
    parts = [
        f'{count} {what}'
        for count, what in (
            (shown.dropped, 'dropped by the node for a newer one'),
            (shown.bad, 'not decodable'),
            (unreceived, 'never received by the node'),
            (missing - shown.dropped - shown.bad - unreceived, 'without an answer heard here'),
        )
        if count > 0
    ]
    return f': {", ".join(parts)}'


def _lateness(truth: Any, alerts: list[Any]) -> str:
    met = [a for a in alerts if a.start < truth.end and a.end > truth.start]
    if not met:
        return 'no alert'
    late = met[0].start - truth.start
    return f'alert after {late:.1f} s' if late >= 0.0 else 'in alert before it began'


def _shipped_bag() -> Path:
    from ros_ood_monitor.errors import BagError
    from ros_ood_monitor.share import share_path

    try:
        return share_path('tests', 'bags', NAME, 'bag')
    except FileNotFoundError as error:
        msg = 'the small bag lies in the checkout only; give another one with --bag PATH'
        raise BagError(msg) from error


def _check_bag(bag: Path) -> None:
    """Refuse a bag without pictures before anything is printed."""
    from ros_ood_monitor.bags import BagReader

    with BagReader(bag) as reader:
        reader.choose()


def _frames(bag: Path, stamps: set[float]) -> dict[float, Any]:
    from ros_ood_monitor.bags import BagReader

    with BagReader(bag) as reader:
        return {frame.stamp: frame.rgb for frame in reader.frames() if frame.stamp in stamps}


def _with_maps(bundle: Any, frames: dict[float, Any]) -> dict[float, Any]:
    """Draw over each picture where it is strange, for a bundle that knows."""
    if bundle.calibration().map is None:
        return frames
    from ros_ood_monitor.maps.colours import CALIBRATED
    from ros_ood_monitor.maps.overlay import overlay
    from ros_ood_monitor.monitor import Monitor

    monitor = Monitor.from_bundle(bundle)
    try:
        drawn = {}
        for stamp, rgb in frames.items():
            heat = monitor.observe_image(rgb, stamp=stamp).heatmap
            drawn[stamp] = rgb if heat is None else overlay(rgb, heat, CALIBRATED)
        return drawn
    finally:
        monitor.close()
