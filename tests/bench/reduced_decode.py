"""
What scores would be if large JPEGs were decoded at half their size, and what that would save.

Usage::

    python -m tests.bench.reduced_decode --mosaics PHOTOS OUT/fit --part 0 0.7
    python -m tests.bench.reduced_decode --mosaics PHOTOS OUT/new --part 0.7 1
    python -m tests.bench.reduced_decode --mosaics STYLISED OUT/ood
    ood_monitor train --data OUT/fit --out OUT/bundle --alpha 0.08 --steps 400
    python -m tests.bench.reduced_decode --json tests/bench/results/reduced_decode.json \
        --set photos OUT/bundle OUT/new OUT/ood

``reduced`` is libjpeg's decoding at half size, in the domain of the cosine transform, then the
resize; ``halved`` decodes all and halves the pixels before it; ``again`` is a yardstick: decoded
whole, but saved as JPEG once more. All are compared with the whole picture resized. No picture is
reduced to less than twice the network's input. The shipped bag is enlarged, with and without a
camera's noise; the synthetic pictures are the worst that there is, and say nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bags import BagReader
from ros_ood_monitor.evaluation.bags.runs import Scoring
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.speed.timing import interleave, ratio, summary
from ros_ood_monitor.evaluation.tables import text_table, write_text
from ros_ood_monitor.images import encode_jpeg, image_files, read_image
from ros_ood_monitor.metrics import auroc
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.records import Frame
from ros_ood_monitor.share import bundle_path
from tests.bench.replay_speed import BAG

Image = npt.NDArray[np.uint8]
File = npt.NDArray[np.uint8]  # a JPEG's bytes
LEAST = 896  # px of a side: four times the input of the shipped bundle
QUALITY, NOISE = 90, 4.0
LIMITS = {'raw_score_p99_sd': 0.05, 'auroc': 0.002, 'health_verdicts': 0}
SPEEDS = [(1080, 1920), (1944, 2592)]


def jpeg(rgb: Image) -> File:
    """Return a picture as a camera's driver sends it."""
    return np.frombuffer(encode_jpeg(rgb, QUALITY), np.uint8)


def read(file: File, flag: int = cv2.IMREAD_COLOR_RGB) -> Image:
    """Decode."""
    return np.asarray(cv2.imdecode(file, flag), np.uint8)


def reduced(file: File) -> Image:
    """Decode at half size."""
    small = read(file, cv2.IMREAD_REDUCED_COLOR_2)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=small), np.uint8)


def halved(file: File) -> Image:
    """Decode, then take the mean of 2x2 pixels."""
    whole = read(file)
    size = whole.shape[1] // 2, whole.shape[0] // 2
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)


WAYS: dict[str, Callable[[File], Image]] = {
    'reduced': reduced,
    'halved': halved,
    'again': lambda file: read(jpeg(read(file))),
}


def mosaics(folder: Path, out: Path, glob: str, part: tuple[float, float], count: int) -> None:
    """Write pictures of many smaller ones at their own sharpness, of even size."""
    files = [file for file in image_files(folder) if file.match(glob)]
    files = files[int(part[0] * len(files)) : int(part[1] * len(files))]
    side = read_image(files[0]).shape[0]
    n = -(-LEAST // side)
    even = n * side // 16 * 16
    rng = np.random.default_rng(7)
    out.mkdir(parents=True)
    for k in range(count):
        tiles = [read_image(files[i]) for i in rng.choice(len(files), n * n, replace=False)]
        rows = [np.concatenate(tiles[n * r : n * r + n], axis=1) for r in range(n)]
        whole = np.concatenate(rows)[:even, :even]
        (out / f'{k:03d}.jpg').write_bytes(encode_jpeg(np.ascontiguousarray(whole), QUALITY))


def bag_files(noise: float) -> dict[str, list[File]]:
    """Return the shipped bag's frames, enlarged to 1920x1080, by whether they are labelled."""
    rng = np.random.default_rng(0)
    found: dict[str, list[File]] = {'new': [], 'ood': []}
    with BagReader(BAG) as bag:
        for k, frame in enumerate(bag.frames()):
            if k % 4:
                continue
            large = cv2.resize(frame.rgb, (1920, 1080), interpolation=cv2.INTER_CUBIC)
            rgb = np.clip(large + rng.normal(0.0, noise, large.shape), 0, 255).astype(np.uint8)
            # as tests/bags/lunar_orbit/labels.yaml has it
            is_odd = 20.0 <= frame.stamp - 1.8e9 < 38.0
            found['ood' if is_odd else 'new'].append(jpeg(rgb))
    return found


def worst_files() -> dict[str, list[File]]:
    """Return stripes, noise, zone plates and print, of one and two pixels."""
    rng = np.random.default_rng(0)
    found = []
    for height, width in ((LEAST, LEAST), (1080, 1920)):
        y, x = np.indices((height, width))
        greys = [
            np.sin(2 * np.pi * axis / period) > 0
            for period in (2.1, 2.5, 3, 4.2)
            for axis in (x, y)
        ]
        greys += [rng.integers(0, 2, (height, width)) > 0]
        greys += [np.sin((y * y + x * x) * np.pi / (2 * max(height, width))) > 0]
        pictures = [np.where(grey[..., None], 255, 0).repeat(3, axis=2) for grey in greys]
        pictures += [rng.integers(0, 256, (height, width, 3))]
        text = np.full((height, width, 3), 255, np.uint8)
        for line in range(12, height, 11):
            cv2.putText(text, 'Small print 0123 ' * 20, (2, line), 1, 0.7, (0, 0, 0), 1)
        found += [jpeg(picture.astype(np.uint8)) for picture in (*pictures, text)]
    return {'new': found}


def shift(bundle_at: Path, sets: dict[str, list[File]]) -> dict[str, Any]:
    """Return what each way changes, of all files and in AUROC of ood against new."""
    bundle, engine = Scoring(bundle_at).open()
    monitor = Monitor(bundle, engine)
    calibration = bundle.calibration(engine.precision)
    preprocess = Preprocessor(bundle.manifest.input_height, bundle.manifest.input_width)
    deviation = float(np.std(calibration.raw_score))
    of_map = calibration.map
    span = None if of_map is None else of_map.threshold - of_map.normal

    def look(rgb: Image) -> tuple[Image, float, Any, str]:
        monitor.reset()  # every picture is the first of its stream
        seen = monitor.observe(Frame(rgb))
        return preprocess(rgb), seen.raw_score, seen.patch_score, seen.health_text

    whole = {name: [look(read(file)) for file in files] for name, files in sets.items()}
    found: dict[str, Any] = {
        'frames': {name: len(files) for name, files in sets.items()},
        'deviation': deviation,
        'raw_score_p50': float(np.median([one[1] for one in whole['new']])),
        'threshold': monitor.threshold,
    }
    for way, decode in WAYS.items():
        other = {name: [look(decode(file)) for file in files] for name, files in sets.items()}
        pairs = [pair for name in sets for pair in zip(whole[name], other[name], strict=True)]
        grey = [np.abs(a[0].astype(int) - b[0]).mean() for a, b in pairs]
        raw = [abs(a[1] - b[1]) / deviation for a, b in pairs]
        found[way] = {
            'grey_levels': percentiles(grey),
            'raw_score_sd': percentiles(raw),
            'over_threshold': sum(
                (a[1] > monitor.threshold) != (b[1] > monitor.threshold) for a, b in pairs
            ),
            'health_verdicts': sum(a[3] != b[3] for a, b in pairs),
        }
        if span:
            cells = [np.abs(a[2] - b[2]).max() / span for a, b in pairs]
            found[way]['map_of_its_span'] = percentiles(cells)
        if 'ood' in sets:
            values = [
                auroc(*(np.array([one[1] for one in side[name]]) for name in ('new', 'ood')))
                for side in (whole, other)
            ]
            found[way]['auroc'] = {'whole': values[0], 'change': values[1] - values[0]}
    engine.close()
    return found


def percentiles(values: list[Any]) -> dict[str, float]:
    """Return the middle, the 99th percentile and the largest."""
    p50, p99, largest = np.percentile(values, (50, 99, 100)).tolist()
    return {'p50': p50, 'p99': p99, 'max': largest}


def speed(rounds: int) -> dict[str, Any]:
    """Return times of decoding and resizing, in ms, and the least of them over the whole's."""
    preprocess = Preprocessor(224, 224)
    found: dict[str, Any] = {}
    for height, width in SPEEDS:
        files = []
        with BagReader(BAG) as bag:
            for frame, _ in zip(bag.frames(), range(4), strict=False):
                rgb = cv2.resize(frame.rgb, (width, height), interpolation=cv2.INTER_CUBIC)
                files.append(jpeg(np.asarray(rgb, np.uint8)))
        wholes, halves = [read(file) for file in files], [reduced(file) for file in files]
        ways: dict[str, Callable[[int], object]] = {
            'decode': lambda k, files=files: read(files[k % 4]),
            'decode reduced': lambda k, files=files: reduced(files[k % 4]),
            'resize': lambda k, wholes=wholes: preprocess(wholes[k % 4]),
            'resize reduced': lambda k, halves=halves: preprocess(halves[k % 4]),
            'both': lambda k, files=files: preprocess(read(files[k % 4])),
            'both reduced': lambda k, files=files: preprocess(reduced(files[k % 4])),
            'both halved': lambda k, files=files: preprocess(halved(files[k % 4])),
        }
        times = interleave(ways, rounds=rounds, burst=4, warm_up=2)
        found[f'{width}x{height}'] = {
            name: {'ms': summary(taken), 'of_both': ratio(taken, times['both']).median}
            for name, taken in times.items()
        }
    return found


def main() -> None:
    """Make mosaics, or measure, print, and write the file asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--mosaics', nargs=2, type=Path, metavar=('FOLDER', 'OUT'))
    parser.add_argument('--glob', default='*')
    parser.add_argument('--part', nargs=2, type=float, default=(0.0, 1.0))
    parser.add_argument('--count', type=int, default=60)
    parser.add_argument(
        '--set', nargs=4, action='append', default=[], metavar=('NAME', 'BUNDLE', 'NEW', 'OOD')
    )
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    if args.mosaics:
        mosaics(*args.mosaics, args.glob, args.part, args.count)
        return
    shipped = bundle_path('lunar_orbit')
    facts: dict[str, Any] = {'limits': LIMITS, 'context': context(), 'speed': speed(args.rounds)}
    sets = {
        'lunar': (shipped, bag_files(0.0)),
        'lunar with noise': (shipped, bag_files(NOISE)),
        'synthetic': (shipped, worst_files()),
    }
    for name, bundle, *folders in args.set:
        files = [[np.fromfile(file, np.uint8) for file in image_files(one)] for one in folders]
        sets[name] = Path(bundle), dict(zip(('new', 'ood'), files, strict=True))
    facts['shift'] = {name: shift(*given) for name, given in sets.items()}
    for size, ways in facts['speed'].items():
        rows = [(size, 'ms p50', 'of both')]
        rows += [(way, f'{v["ms"]["p50"]:.2f}', f'{v["of_both"]:.2f}') for way, v in ways.items()]
        print(text_table(rows))
    rows = [('set', 'way', 'grey', 'raw p50, sd', 'p99', 'AUROC', 'health', 'threshold')]
    for name, found in facts['shift'].items():
        for way in WAYS:
            one = found[way]
            raw = [f'{one["raw_score_sd"][key]:.3f}' for key in ('p50', 'p99')]
            area = f'{one["auroc"]["change"]:+.4f}' if 'auroc' in one else ''
            grey = f'{one["grey_levels"]["p50"]:.2f}'
            counts = str(one['health_verdicts']), str(one['over_threshold'])
            rows.append((name, way, grey, *raw, area, *counts))
    print(text_table(rows))
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1, allow_nan=False) + '\n')


if __name__ == '__main__':
    main()
