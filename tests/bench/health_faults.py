"""
Inject every fault of input health into real streams: frames until found, and false alarms.

Usage::

    python -m tests.bench.health_faults --photos FOLDER --boards FOLDER \
        --bags BAG... --json tests/bench/results/input_health.json

Streams: the shipped bag, whose frames were decoded from JPEG, and slow pans with sensor noise over
photographs and over scans of circuit boards, where their folders are given. Limits are the fixed
ones, and those from the frames of other streams of the same kind (of the bag: its first 20 s).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
import json
from pathlib import Path
import time
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bags import BagReader
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.tables import text_table, write_text
from ros_ood_monitor.health import CHECKS, health_table, HealthLimits, HealthMonitor, measure
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.records import Frame

INPUT: Final = (224, 224)
BAG: Final = Path(__file__).resolve().parents[1] / 'bags/lunar_orbit/bag'
BEFORE, AFTER = 30, 60  # frames without and with the fault
PAN_HZ: Final = 15.0

Pixels = npt.NDArray[np.uint8]
Stream = list[Frame]
Fault = Callable[[Frame, int, Frame, Frame, np.random.Generator], Frame]


def _pixels(change: Callable[[Pixels, np.random.Generator], Any]) -> Fault:
    """Return a fault of single pictures."""

    def fault(frame: Frame, k: int, first: Frame, before: Frame, rng: Any) -> Frame:
        changed = np.clip(change(frame.rgb, rng), 0, 255).astype(np.uint8)
        return replace(frame, rgb=np.ascontiguousarray(changed))

    return fault


def _noise(rgb: Pixels, rng: np.random.Generator, sigma: float) -> npt.NDArray[np.float64]:
    return rgb + rng.normal(0.0, sigma, rgb.shape)


def _bands(rgb: Pixels, height: int) -> npt.NDArray[np.float64]:
    rows = np.arange(len(rgb)) // height % 2  # (H,)
    return rgb + 24.0 * rows[:, np.newaxis, np.newaxis] - 12.0


def _filled(rgb: Pixels, rows: slice, level: int) -> Pixels:
    filled = rgb.copy()
    filled[rows] = level
    return filled


def _part(rgb: Pixels, start: float, end: float, level: int) -> Pixels:
    return _filled(rgb, slice(int(start * len(rgb)), int(end * len(rgb))), level)


def _frozen(frame: Frame, k: int, first: Frame, before: Frame, rng: Any) -> Frame:
    return replace(frame, rgb=first.rgb)


def _frozen_with_clock(frame: Frame, k: int, first: Frame, before: Frame, rng: Any) -> Frame:
    rgb = first.rgb.copy()
    rgb[:6, :9] = 255 * (k % 2)
    return replace(frame, rgb=rgb)


def _torn_once(frame: Frame, k: int, first: Frame, before: Frame, rng: Any) -> Frame:
    if k:
        return frame
    row = int(rng.uniform(0.3, 0.7) * frame.height)
    return replace(frame, rgb=np.concatenate([frame.rgb[:row], before.rgb[row:]]))


def _half_stands(frame: Frame, k: int, first: Frame, before: Frame, rng: Any) -> Frame:
    row = frame.height // 2
    return replace(frame, rgb=np.concatenate([frame.rgb[:row], first.rgb[row:]]))


def _drift(frame: Frame, k: int, first: Frame, before: Frame, rng: Any) -> Frame:
    gain = 1.0 + k / 20.0  # twice as bright after 20 frames
    return replace(frame, rgb=np.clip(frame.rgb * gain, 0, 255).astype(np.uint8))


def _wide(frame: Frame, k: int, first: Frame, before: Frame, rng: Any) -> Frame:
    cut = frame.height // 8
    return replace(frame, rgb=np.ascontiguousarray(frame.rgb[cut:-cut]))


def _swapped(frame: Frame, k: int, first: Frame, before: Frame, rng: Any) -> Frame:
    return replace(frame, rgb=np.ascontiguousarray(frame.rgb[..., ::-1]), encoding='other')


def _slow(frame: Frame, k: int, first: Frame, before: Frame, rng: Any) -> Frame:
    return replace(frame, stamp=first.stamp + 4.0 * (frame.stamp - first.stamp))


FAULTS: Final[dict[str, tuple[str, Fault]]] = {
    'lens cap': ('black', _pixels(lambda rgb, rng: 0 * rgb)),
    'lens cap, sensor noise': ('black', _pixels(lambda rgb, rng: _noise(0 * rgb, rng, 2.0))),
    'all white': ('saturated', _pixels(lambda rgb, rng: 0 * rgb + 255.0)),
    'overexposed 8 x': ('saturated', _pixels(lambda rgb, rng: 8.0 * rgb)),
    'frozen': ('frozen', _frozen),
    'frozen, moving clock': ('frozen', _frozen_with_clock),
    'lower third grey': ('missing', _pixels(lambda rgb, rng: _part(rgb, 0.67, 1.0, 128))),
    'lower third black': ('blank', _pixels(lambda rgb, rng: _part(rgb, 0.67, 1.0, 0))),
    'block of packets lost': ('blank', _pixels(lambda rgb, rng: _part(rgb, 0.3, 0.5, 0))),
    'one frame half old, half new': ('torn', _torn_once),
    'lower half stands still': ('torn', _half_stands),
    'out of focus, 1.5 px': (
        'blurred', _pixels(lambda rgb, rng: cv2.GaussianBlur(rgb, (0, 0), 1.5)),
    ),
    'out of focus, 4 px': (
        'blurred', _pixels(lambda rgb, rng: cv2.GaussianBlur(rgb, (0, 0), 4.0)),
    ),
    'noise of 10': ('noise', _pixels(lambda rgb, rng: _noise(rgb, rng, 10.0))),
    'noise of 30': ('noise', _pixels(lambda rgb, rng: _noise(rgb, rng, 30.0))),
    'bands of 4 rows': ('banding', _pixels(lambda rgb, rng: _bands(rgb, 4))),
    'twice as bright in 20 frames': ('exposure', _drift),
    'red and blue swapped': ('colour', _swapped),
    'other encoding': ('encoding', _swapped),
    'cut to 16:9': ('format', _wide),
    'stamps stand': ('stamps', lambda frame, k, first, *_: replace(frame, stamp=first.stamp)),
    'a quarter of the rate': ('rate', _slow),
}  # fmt: skip
"""What is done to a frame, and the check that is to find it."""


def pans(folder: Path, count: int, *, start: int = 0, every: int = 1) -> Iterator[Stream]:
    """Yield streams of 240x240 windows that move over pictures, with the noise of a sensor."""
    paths = sorted(path for path in folder.rglob('*.jpg') if '_test' not in path.name)
    for index, path in enumerate(paths[start::every][:count]):
        bgr = cv2.imread(str(path))
        assert bgr is not None
        rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        rng = np.random.default_rng([start, index])
        angle = rng.uniform(0.0, 6.28)
        reach = (np.array(rgb.shape[:2]) - 240) / 2.0
        frames = []
        for k in range(BEFORE + AFTER + 10):
            middle = np.array([np.sin(angle + k / 40.0), np.cos(angle + k / 53.0)])
            y, x = (reach * (1.0 + middle)).astype(int)
            seen = _noise(rgb[y : y + 240, x : x + 240], rng, 1.5)
            frames.append(
                Frame(np.clip(seen, 0, 255).astype(np.uint8), 100.0 + k / PAN_HZ, '', 'rgb8')
            )
        yield frames


def bag_streams() -> tuple[list[Stream], list[Stream]]:
    """Return the first 20 s of the bag as one stream, and the rest in pieces."""
    frames = list(BagReader(BAG).frames())
    rest = frames[200:]
    length = BEFORE + AFTER + 10
    return [frames[:200]], [rest[k : k + length] for k in range(0, len(rest) - length, length)]


def trained(streams: Sequence[Stream], rate: float) -> HealthLimits:
    preprocess = Preprocessor(*INPUT)
    frames = [frame for stream in streams for frame in stream]
    measures = np.stack([measure(preprocess(frame.rgb)[0]) for frame in frames])  # (n, 9)
    sizes = np.array([(frame.width, frame.height) for frame in frames])
    table = health_table(measures, sizes, still=0.0)
    return HealthLimits.from_table(table, frame_rate_hz=rate)


def found(stream: Stream, limits: HealthLimits, check: str, fault: Fault) -> tuple[int, int]:
    """Return after how many frames the check fails, and lasts; 0 where it does not."""
    preprocess, monitor = Preprocessor(*INPUT), HealthMonitor(limits)
    rng = np.random.default_rng(7)
    first, before, failed = stream[BEFORE - 1], stream[BEFORE - 1], 0
    for k, frame in enumerate(stream[: BEFORE + AFTER]):
        shown = frame if k < BEFORE else fault(frame, k - BEFORE, first, before, rng)
        before = frame
        health = monitor.look(preprocess(shown.rgb)[0], shown)
        if k >= BEFORE and check in [f.name for f in health.faults] and not failed:
            failed = k - BEFORE + 1
        if k >= BEFORE and check in health.lasting:
            return failed, k - BEFORE + 1
    return failed, 0


def clean(streams: Sequence[Stream], limits: HealthLimits) -> dict[str, int]:
    """Return how many frames of intact streams fail each check, and how many there are."""
    preprocess = Preprocessor(*INPUT)
    counts = {'frames': 0, 'blind': 0}
    for stream in streams:
        monitor = HealthMonitor(limits)
        for frame in stream:
            health = monitor.look(preprocess(frame.rgb)[0], frame)
            counts['frames'] += 1
            counts['blind'] += not health.is_usable
            for fault in health.faults:
                counts[fault.name] = counts.get(fault.name, 0) + 1
    return counts


def speed(stream: Stream) -> dict[str, float]:
    """Return the time of a look, in ms."""
    preprocess = Preprocessor(*INPUT)
    images = [preprocess(frame.rgb)[0] for frame in stream]
    monitor, seconds = HealthMonitor(HealthLimits.from_table(None)), []
    for _ in range(10):
        for image, frame in zip(images, stream, strict=True):
            start = time.perf_counter()
            monitor.look(image, frame)
            seconds.append(time.perf_counter() - start)
    p50, p99 = np.percentile(seconds, (50, 99)) * 1e3
    return {'p50': round(float(p50), 3), 'p99': round(float(p99), 3)}


def judged(learnt: list[Stream], seen: list[Stream], rate: float) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name, limits in (
        ('fixed', HealthLimits.from_table(None, frame_rate_hz=rate)),
        ('trained', trained(learnt, rate)),
    ):
        faults = {}
        for fault, (check, change) in FAULTS.items():
            if check not in limits.limits:
                continue
            answers = [found(stream, limits, check, change) for stream in seen]
            fails, lasts = ([answer[k] for answer in answers if answer[k]] for k in (0, 1))
            faults[fault] = {
                'check': check,
                'of': len(seen),
                'fails': len(fails),
                'fails_after_frames': float(np.median(fails)) if fails else None,
                'lasts': len(lasts),
                'lasts_after_frames': float(np.median(lasts)) if lasts else None,
                'lasts_after_frames_most': max(lasts, default=None),
            }
        facts[name] = {'faults': faults, 'clean': clean(seen, limits)}
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--photos', metavar='FOLDER', type=Path)
    parser.add_argument('--boards', metavar='FOLDER', type=Path)
    parser.add_argument('--bags', metavar='BAG', type=Path, nargs='*', default=[])
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    bag = bag_streams()
    sources = {'lunar_orbit bag, 10 Hz': (*bag, 10.0)}
    if args.photos:
        known = list(pans(args.photos, 60, every=7))
        new = list(pans(args.photos, 10, start=3, every=83))
        sources['pans over photographs, 15 Hz'] = known, new, PAN_HZ
    if args.boards:
        known = list(pans(args.boards, 30, every=9))
        new = list(pans(args.boards, 10, start=4, every=31))
        sources['pans over circuit boards, 15 Hz'] = known, new, PAN_HZ
    facts = {
        'context': context(),
        'input': INPUT,
        'time_ms': speed(bag[0][0]),
        'intact_bags': {
            path.name: clean([list(BagReader(path).frames())], HealthLimits.from_table(None))
            for path in args.bags
        },
        'streams': {name: judged(*source) for name, source in sources.items()},
    }
    for name, one in facts['streams'].items():
        for limits, result in one.items():
            print(f'\n{name}, {limits} limits; intact: {result["clean"]}')
            rows = [('fault', 'check', 'blinds', 'found', 'after', 'lasts', 'after', 'most')]
            rows += [
                (
                    fault,
                    row['check'],
                    'yes' if CHECKS[row['check']].blinds else '',
                    f'{row["fails"]}/{row["of"]}',
                    f'{row["fails_after_frames"] or "-"}',
                    f'{row["lasts"]}/{row["of"]}',
                    f'{row["lasts_after_frames"] or "-"}',
                    f'{row["lasts_after_frames_most"] or "-"}',
                )
                for fault, row in result['faults'].items()
            ]
            print(text_table(rows))
    print('intact bags, fixed limits:', facts['intact_bags'])
    print('a look takes', facts['time_ms'], 'ms')
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1) + '\n')


if __name__ == '__main__':
    main()
