"""
Measures how frames reach the node: sizes, transports and encodings, each with the real node.

``python tests/bench/node_transport.py --bundle models/lunar_orbit --out FILE`` runs every set-up
for a few seconds; ``--only vga --seconds 600`` one of them for ten minutes. It prints JSON: share
delivered, latency, where frames were lost, and CPU a frame inside and beside the engine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import sys
from typing import Any

import node_soak  # beside this file, which is run as a script

HD = {'width': 1920, 'height': 1080}
BARE = {'default_transport': True, 'no_tune_malloc': True}
SETUPS: dict[str, dict[str, Any]] = {
    'vga': {},
    'vga, default transport': {'default_transport': True},
    'vga, malloc not tuned': {'no_tune_malloc': True},
    'vga, neither': BARE,
    'vga, reliable': {'reliability': 'reliable'},
    # nothing is scored but one frame in ten seconds: receiving by itself
    'vga, not scored': {'max_rate': 0.1},
    'hd': HD,
    'hd, neither': {**HD, **BARE},
    'vga jpeg': {'encoding': 'jpeg'},
    'vga jpeg, neither': {'encoding': 'jpeg', **BARE},
    'hd jpeg': {'encoding': 'jpeg', **HD},
    'vga, three cameras': {'cameras': 3},
}
"""What differs from 640x480 rgb8, 30 Hz, best effort, with the profile and the tuned malloc."""

GOAL_DELIVERED = 1.0
GOAL_RECEIVING_MS = 1.5


def run(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Measure one set-up."""
    wanted = {**vars(args), 'reliability': 'best_effort', **SETUPS[name]}
    result = node_soak.measure(argparse.Namespace(**wanted))
    node = result['node']
    print(
        f'{name}: {node["received"]} of {result["camera"]["sent"]} delivered, '
        f'{node["scored"]} scored, receiving '
        f'{node["cpu_ms_per_received_frame"]["receiving"]:.2f} ms CPU a frame, '
        f'latency {node["latency_ms"]}',
        file=sys.stderr,
    )
    return result


def is_possible(name: str) -> bool:
    """Tell whether this node can be set up so."""
    return SETUPS[name].get('cameras', 1) == 1 or node_soak.takes_several_cameras()


def goal(result: dict[str, Any]) -> dict[str, Any]:
    """Judge VGA with the profile."""
    node = result['node']
    receiving = node['cpu_ms_per_received_frame']['receiving']
    return {
        'delivered_share': node['delivered_share'],
        'delivered_share_at_least': GOAL_DELIVERED,
        'receiving_ms': receiving,
        'receiving_ms_at_most': GOAL_RECEIVING_MS,
        'is_met': node['delivered_share'] >= GOAL_DELIVERED and receiving <= GOAL_RECEIVING_MS,
    }


def main() -> int:
    """Measure all set-ups, or those asked for."""
    parser = node_soak.parser(__doc__)
    parser.set_defaults(seconds=4.0)
    parser.add_argument('--only', nargs='+', choices=list(SETUPS), metavar='NAME')
    args = parser.parse_args()
    names = args.only or [name for name in SETUPS if is_possible(name)]
    results = {name: run(args, name) for name in names}
    found = {'goal': goal(results['vga'])} if 'vga' in results else {}
    text = json.dumps({**found, 'setups': results}, indent=2)
    print(text)
    if args.out:
        Path(args.out).write_text(text + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
