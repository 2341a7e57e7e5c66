"""
Time the folded `fde_paper` scorer in ONNX Runtime against the published way of computing it.

Usage, in an environment with the extra ``train``::

    python -m tests.bench.fde_paper_speed --json tests/bench/results/fde_paper_speed_1280.json

One thread on either side, batch 1, interleaved; the goal is 200 times at least. Both hold the
same parameters, away from their initial values, and that they compute the same density is checked
first: a fast wrong answer is none.

The two are bound by different things. The published way multiplies 40 D^3 floating-point
operations of factors into ten matrices, whatever the batch; the folded one reads 30 D^2 weights
from memory once a frame. So the ratio grows with D, with the machine's memory bandwidth, and
shrinks with the arithmetic its core does in that time; both rates are in the file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.speed.timing import interleave, ratio, summary
from ros_ood_monitor.evaluation.tables import text_table, write_text
from ros_ood_monitor.training.flows.assembly import flow_from_settings
from ros_ood_monitor.training.flows.folding import fold
from ros_ood_monitor.training.settings.presets import FlowSettings
from tests.bench.folding import to_onnx
from tests.published_fde import copy_into, PublishedFlow

AT_LEAST = 200.0
RELATIVE = 1e-5  # of folded float32 against the published computation in float64


def unit_rows(count: int, features: int, seed: int) -> torch.Tensor:
    """Return non-negative features of unit length (count, D), as ReLUs and pooling give them."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(count, features, generator=generator).abs()
    return raw / raw.norm(dim=1, keepdim=True)


def make_published(features: int) -> PublishedFlow:
    """Return a published flow that has seen data, every parameter a little off its start."""
    torch.manual_seed(1)
    published = PublishedFlow(features)
    with torch.no_grad():
        published.log_prob(unit_rows(250, features, seed=2))
        for parameter in published.parameters():
            parameter += 0.05 / features**0.5 * torch.randn(parameter.shape)
    return published


def measure(features: int, *, rounds: int) -> dict[str, Any]:
    """Return parity, times and the ratio as plain values."""
    torch.set_num_threads(1)
    before = context()
    published = make_published(features)
    flow = flow_from_settings(FlowSettings.preset('fde_paper'), features, seed=1)
    copy_into(published, flow)
    model = to_onnx(fold(flow).float().eval(), features)
    del flow
    session = open_session(model)
    inputs = unit_rows(4, features, seed=3)
    rows = [inputs[k : k + 1] for k in range(len(inputs))]  # 4 x (1, D)
    arrays = [row.numpy() for row in rows]
    with torch.inference_mode():
        truth = published.double().log_prob(inputs.double()).numpy()  # (4,)
        published.float()
        (nll,) = session.run(['nll'], {'features': inputs.numpy()})  # (4,)
        narrow = published.log_prob(inputs).numpy()
        times = interleave(
            {
                'published log_prob': lambda k: published.log_prob(rows[k % 4]),
                'folded, ONNX Runtime': lambda k: session.run(
                    ['nll'], {'features': arrays[k % 4]}
                ),
            },
            rounds=rounds,
            burst=2,
            warm_up=2,
        )
    error, of_narrow = (float((abs(got - truth) / abs(truth)).max()) for got in (-nll, narrow))
    found = ratio(times['published log_prob'], times['folded, ONNX Runtime'])
    fastest = {name: float(values.min()) for name, values in times.items()}  # ms
    return {
        'flow': {'features': features, 'preset': 'fde_paper', 'onnx_mib': len(model) / 2**20},
        'settings': {'rounds': rounds, 'burst': 2, 'batch': 1, 'threads': 1},
        'context': {**before, 'torch': torch.__version__},
        'parity': {
            'log_prob_mean': float(truth.mean()),
            'relative_error': error,
            'relative_error_of_published_float32': of_narrow,
            'at_most': RELATIVE,
            'met': error <= RELATIVE,
        },
        'times_ms': {name: summary(values) for name, values in times.items()},
        'bounds': {
            'published_gflop_per_s': 40e-6 * features**3 / fastest['published log_prob'],
            'folded_gbyte_per_s': 1e-6 * len(model) / fastest['folded, ONNX Runtime'],
        },
        'ratio': {**vars(found), 'goal_at_least': AT_LEAST, 'met': found.median >= AT_LEAST},
    }


def main() -> None:
    """Measure, print, and write the file asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--features', type=int, default=1280)
    parser.add_argument('--repeats', type=int, default=10)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    facts = measure(args.features, rounds=args.repeats)
    keys = ('min', 'p50', 'p90', 'p99')
    table = [('ms', *keys)]
    for name, times in facts['times_ms'].items():
        table.append((name, *(f'{times[key]:.3f}' for key in keys)))
    print(text_table(table))
    found, parity = facts['ratio'], facts['parity']
    word = 'met' if found['met'] else 'NOT MET'
    print(
        f'{found["median"]:.0f} times faster (minima {found["of_minima"]:.0f}), goal 200: {word}'
    )
    bounds = facts['bounds']
    print(
        f'published {bounds["published_gflop_per_s"]:.0f} GFLOP/s, '
        f'folded {bounds["folded_gbyte_per_s"]:.0f} GB/s of weights'
    )
    print(f'relative error {parity["relative_error"]:.1e}, at most {RELATIVE:.0e}')
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1, allow_nan=False) + '\n')


if __name__ == '__main__':
    main()
