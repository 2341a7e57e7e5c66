"""
Measures what heat-maps and overlays cost the node, with nobody, one and both listened to.

``python tests/bench/node_pictures.py --bundle BUNDLE --out FILE``, with a bundle that has a map.
The set-ups take turns, so that a change of the machine's load meets all of them. It prints JSON:
CPU a frame of the process, of the thread that scores and of the one that makes pictures, latency,
and how many pictures came. The camera shows noise, the worst case for JPEG.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import sys
from typing import Any

import node_soak  # beside this file, which is run as a script
import numpy as np

SETUPS: dict[str, dict[str, Any]] = {
    'nobody listens': {},
    'heatmap': {'listen': ['heatmap']},
    'overlay': {'listen': ['overlay/compressed']},
    'both': {'listen': ['heatmap', 'overlay/compressed']},
    'both, hd': {'listen': ['heatmap', 'overlay/compressed'], 'width': 1920, 'height': 1080},
    'nobody listens, hd': {'width': 1920, 'height': 1080},
}


def facts(result: dict[str, Any]) -> dict[str, Any]:
    """Return what is compared."""
    node = result['node']
    spent = node['cpu_ms_per_received_frame']
    threads = spent['by_thread']
    return {
        'process_ms': spent['process'],
        'score_thread_ms': threads.get('score', 0.0),
        'pictures_thread_ms': threads.get('pictures', 0.0),
        'monitor_ms': spent['engine'] + spent['resize_and_alert'],
        'latency_p50_ms': node['latency_ms']['p50'],
        'latency_p99_ms': node['latency_ms']['p99'],
        'scored': node['scored'],
        'dropped': node['dropped'],
        **{f'pictures {name}': count for name, count in node['pictures'].items()},
    }


def main() -> int:
    """Measure all set-ups in turn."""
    parser = node_soak.parser(__doc__)
    parser.set_defaults(seconds=6.0)
    parser.add_argument('--rounds', type=int, default=3)
    args = parser.parse_args()
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in SETUPS}
    machine, bundle = {}, {}
    for number in range(args.rounds):
        for name, changes in SETUPS.items():
            result = node_soak.measure(argparse.Namespace(**{**vars(args), **changes}))
            machine, bundle = result['machine'], result['bundle']
            rounds[name].append(facts(result))
            print(f'{number + 1} {name}: {rounds[name][-1]}', file=sys.stderr)
    median = {
        name: {key: float(np.median([one[key] for one in found])) for key in found[0]}
        for name, found in rounds.items()
    }
    text = json.dumps(
        {'median': median, 'rounds': rounds, 'bundle': bundle, 'machine': machine}, indent=1
    )
    print(text)
    if args.out:
        Path(args.out).write_text(text + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
