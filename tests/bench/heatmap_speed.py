"""
Time what a heat-map costs a frame, beyond the engine.

Usage::

    OPENBLAS_NUM_THREADS=1 python -m tests.bench.heatmap_speed \
        --json tests/bench/results/cpu_heatmap_speed.json

One thread, interleaved. The grid is quiet but for three hot places, and in ``noise`` half over
the threshold, cell by cell: the worst case for outlines and regions.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import cv2
import numpy as np

from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.speed.timing import Call, interleave, summary
from ros_ood_monitor.evaluation.tables import text_table, write_text
from ros_ood_monitor.maps.caption import caption
from ros_ood_monitor.maps.colours import colour, ColourScale
from ros_ood_monitor.maps.heatmap import Projection, regions_over
from ros_ood_monitor.maps.overlay import overlay
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.records import State

SIZES = [(480, 640), (1080, 1920)]
INPUT, GRID = (224, 224), (14, 14)
SCALE = ColourScale(normal=0.0, threshold=3.0)


def contenders(size: tuple[int, int], what: str) -> dict[str, Call]:
    rng = np.random.default_rng(0)
    grid = rng.normal(size=GRID).astype(np.float32)
    if what == 'noise':
        grid += np.where(np.indices(GRID).sum(axis=0) % 2, 0.0, 6.0).astype(np.float32)
    else:
        grid[4, 9], grid[5, 9], grid[10, 3] = 8.0, 5.0, 4.0
    image_from_input = Preprocessor(*INPUT).image_from_input(*size)
    project = Projection(image_from_input, image_size=size, input_size=INPUT, grid_size=GRID)
    heat = project(grid)
    rgb = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    words: dict[str, Any] = {'raw_score': 12.3, 'threshold': 5.2, 'score': 1.0}
    return {
        'map': lambda k: project(grid),
        'regions': lambda k: regions_over(heat, SCALE.threshold),
        'colour': lambda k: colour(heat, SCALE),
        'overlay': lambda k: overlay(rgb, heat, SCALE),
        'caption': lambda k: caption(rgb, **words, state=State.ALERT),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--json', metavar='FILE')
    parser.add_argument('--rounds', type=int, default=40)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    before = context()
    found: dict[str, Any] = {}
    for height, width in SIZES:
        for what in ('quiet', 'noise'):
            timed = interleave(
                contenders((height, width), what), rounds=args.rounds, burst=2, warm_up=2
            )
            found[f'{width}x{height} {what}'] = {name: summary(t) for name, t in timed.items()}
    facts = {'context': before, 'input': INPUT, 'grid': GRID, 'times_ms': found}
    names = list(next(iter(found.values())))
    rows = [('p50 (min), ms', *names)]
    for case, times in found.items():
        cells = (f'{times[name]["p50"]:.2f} ({times[name]["min"]:.2f})' for name in names)
        rows.append((case, *cells))
    print(text_table(rows))
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1) + '\n')


if __name__ == '__main__':
    main()
