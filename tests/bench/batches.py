"""
What an engine gains by taking several pictures in one call.

Usage::

    OMP_NUM_THREADS=1 python -m tests.bench.batches models/lunar_orbit \
        --json tests/bench/results/batches_cpu_ort_fp32_lunar_orbit.json

For each number of pictures: one call with all of them against as many calls with one, side by
side, so that their ratio holds on a busy machine, too. An engine of TensorRT takes in one call
what it was built for (``ood_monitor build-engine --batch 1 8 8``); more go in turns.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import Engine, open_engine
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.speed.timing import Call, interleave, ratio, summary
from ros_ood_monitor.evaluation.tables import text_table, write_text

COUNTS = (2, 3, 4, 8)


def pictures(bundle: Bundle, precision: str, count: int) -> npt.NDArray[np.uint8]:
    """Return the goldens, again and again: what is in them costs no engine any time."""
    image = bundle.goldens(precision).image
    return np.ascontiguousarray(image[np.arange(count) % len(image)])  # (count, h, w, 3)


def measured(bundle: Bundle, engine: Engine, *, rounds: int) -> dict[str, Any]:
    """Return times and ratios of an engine that is open."""
    images = pictures(bundle, engine.precision, max(COUNTS))

    def one_by_one(count: int) -> Call:
        def call(_: int) -> None:
            for k in range(count):
                engine.infer(images[k : k + 1])

        return call

    def together(count: int) -> Call:
        return lambda _: engine.infer(images[:count])

    calls = {'1': together(1)}
    for count in COUNTS:
        calls |= {f'{count} calls': one_by_one(count), f'{count}': together(count)}
    times = interleave(calls, rounds=rounds, burst=3, warm_up=3)
    return {
        'engine': engine.describe(),
        'rounds': rounds,
        'times_ms': {name: summary(values) for name, values in times.items()},
        'one_call_of_single_calls': {
            str(count): vars(ratio(times[f'{count}'], times[f'{count} calls'])) for count in COUNTS
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('bundle', type=Path)
    parser.add_argument('--engine', default='onnxruntime')
    parser.add_argument('--precision')
    parser.add_argument('--rounds', type=int, default=30)
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args()
    bundle, before = Bundle.load(args.bundle), context()
    engine = open_engine(bundle, args.engine, precision=args.precision)
    engine.warm_up()
    found = measured(bundle, engine, rounds=args.rounds)
    facts = {
        'bundle': {'name': bundle.manifest.name, 'digest': bundle.digest},
        'context': {**before, 'load_average_after': context()['load_average']},
        **found,
    }
    rows = [('pictures', 'ms a picture, min', 'p50', 'one call / single calls', 'quartiles')]
    for count, of in found['one_call_of_single_calls'].items():
        times = found['times_ms'][count]
        each = [f'{times[key] / int(count):.2f}' for key in ('min', 'p50')]
        rows.append((count, *each, f'{of["median"]:.3f}', f'{of["low"]:.3f} to {of["high"]:.3f}'))
    print(text_table(rows))
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1) + '\n')


if __name__ == '__main__':
    main()
