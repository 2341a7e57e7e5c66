"""
Time decoding a frame of every encoding against OpenCV's bare conversion of the same pixels.

Usage::

    python -m tests.bench.decode_speed --json tests/bench/results/cpu_decode_speed.json

One thread, interleaved. Frames are what rclpy delivers, an ``array.array`` of bytes. ``of_plain``
is the time over that of one OpenCV call on an ndarray that is ready for it (where one call gives
the same pixels): what the checks and the rows cost. ``of_copy`` is the time over that of copying
the RGB picture once. Encodings that differ in name or pattern only stand for each other.
"""

from __future__ import annotations

import argparse
import array
from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.decode import decode_compressed, decode_image
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.speed.timing import interleave, ratio, summary
from ros_ood_monitor.evaluation.tables import text_table, write_text

SIZES = [(480, 640), (1080, 1920)]
PADDING = 64
# encoding: bytes a pixel, planes in halves of the first, OpenCV's code where one call is enough
ENCODED: dict[str, tuple[int, int, int | None]] = {
    'rgb8': (3, 2, None),
    'bgr8': (3, 2, cv2.COLOR_BGR2RGB),
    'bgra8': (4, 2, cv2.COLOR_BGRA2RGB),
    'mono8': (1, 2, cv2.COLOR_GRAY2RGB),
    'mono16': (2, 2, None),
    'rgb16': (6, 2, None),
    'bgra16': (8, 2, None),
    'bayer_rggb8': (1, 2, cv2.COLOR_BayerBG2RGB),
    'bayer_rggb16': (2, 2, None),
    'uyvy': (2, 2, cv2.COLOR_YUV2RGB_UYVY),
    'yuyv': (2, 2, cv2.COLOR_YUV2RGB_YUYV),
    'nv12': (1, 3, cv2.COLOR_YUV2RGB_NV12),
    'nv21': (1, 3, cv2.COLOR_YUV2RGB_NV21),
    'nv24': (1, 6, None),
}

Contenders = dict[str, Callable[[int], object]]


def raw_contenders(
    picture: npt.NDArray[np.uint8], encoding: str, padding: int
) -> tuple[Contenders, int]:
    """Return the calls to time and the message's size in bytes."""
    height, width = picture.shape[:2]
    pixel, halves, code = ENCODED[encoding]
    step = width * pixel + padding
    size = height * step * halves // 2
    pixels = np.resize(picture.reshape(-1), size)
    data = array.array('B', pixels.tobytes())
    layout = {'encoding': encoding, 'height': height, 'width': width, 'step': step}
    calls: Contenders = {'decode': lambda _: decode_image(data, **layout)}
    if code is not None and not padding:
        ready = pixels.reshape(-1, width, pixel)
        if not np.array_equal(cv2.cvtColor(ready, code), decode_image(data, **layout)):
            msg = f'{encoding}: one OpenCV call gives other pixels'
            raise SystemExit(msg)
        calls['plain'] = lambda _: cv2.cvtColor(ready, code)
    return calls, size


def file_contenders(
    picture: npt.NDArray[np.uint8], suffix: str, *options: int
) -> tuple[Contenders, int]:
    """Return the calls to time and the file's size in bytes."""
    file = cv2.imencode(suffix, picture, options)[1]
    data = array.array('B', file.tobytes())
    calls: Contenders = {
        'decode': lambda _: decode_compressed(data),
        'plain': lambda _: cv2.imdecode(file, cv2.IMREAD_COLOR),
    }
    return calls, len(data)


def scene(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return smooth colours with a little noise, (H, W, 3): files of a camera's size."""
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (height // 40, width // 40, 3), np.uint8)
    smooth = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(float)
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


def measure(*, rounds: int) -> dict[str, Any]:
    """Return times and ratios as plain values."""
    cv2.setNumThreads(1)
    before = context()
    results: dict[str, dict[str, Any]] = {}
    for height, width in SIZES:
        picture = scene(height, width)
        jobs = {name: raw_contenders(picture, name, 0) for name in ENCODED}
        jobs |= {
            f'{name}, padded': raw_contenders(picture, name, PADDING)
            for name in ('rgb8', 'bgr8', 'mono16', 'uyvy', 'nv12')
        }
        jobs['jpeg'] = file_contenders(picture, '.jpg', cv2.IMWRITE_JPEG_QUALITY, 90)
        jobs['png'] = file_contenders(picture, '.png')
        table = results[f'{width}x{height}'] = {}
        for name, (calls, size) in jobs.items():
            calls['copy'] = lambda _, picture=picture: picture.copy()
            burst = 3 if name == 'png' else 5
            times = interleave(calls, rounds=rounds, burst=burst, warm_up=2)
            plain = ratio(times['decode'], times['plain']).median if 'plain' in times else None
            table[name] = {
                'bytes': size,
                'ms': summary(times['decode']),
                'of_plain': plain,
                'of_copy': ratio(times['decode'], times['copy']).median,
            }
    return {
        'settings': {'rounds': rounds, 'threads': 1, 'padding_bytes': PADDING},
        'context': before,
        'frames': results,
    }


def main() -> None:
    """Measure, print, and write the file asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    facts = measure(rounds=args.rounds)
    for size, frames in facts['frames'].items():
        rows = [(size, 'p50 ms', 'p99 ms', 'of plain', 'of copy')]
        for name, found in frames.items():
            plain = '' if found['of_plain'] is None else f'{found["of_plain"]:.2f}'
            times = found['ms']
            figures = (f'{times["p50"]:.3f}', f'{times["p99"]:.3f}')
            rows.append((name, *figures, plain, f'{found["of_copy"]:.2f}'))
        print(text_table(rows))
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1, allow_nan=False) + '\n')


if __name__ == '__main__':
    main()
