"""
Time the folded scorer in ONNX Runtime against nflows' own ``log_prob`` of the same flow.

Usage, in an environment with the extra ``train``::

    python -m tests.bench.folding --json tests/bench/results/folding_lu_1280.json

One thread on either side, batch 1, interleaved bursts; the goal is 10 times at least. That both
compute the same density is checked first: a fast wrong answer is none.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import torch

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.speed.timing import interleave, ratio, summary
from ros_ood_monitor.evaluation.tables import text_table, write_text
from ros_ood_monitor.training.flows.assembly import build_flow, initialize
from ros_ood_monitor.training.flows.folding import fold

AT_LEAST = 10.0
RELATIVE = 1e-5  # of folded float32 against unfolded float64 log_prob


def make_flow(features: int, *, hidden: int, couplings: int, mixing: str) -> Any:
    """Return a flow whose every weight is away from its initial value, as after training."""
    size = {'hidden': hidden, 'couplings': couplings, 'mixing': mixing}
    flow = build_flow(features, **size, whiten=False, seed=1)  # Glow as published: no whitening
    generator = torch.Generator().manual_seed(2)
    initialize(flow, torch.randn(256, features, generator=generator))
    with torch.no_grad():
        for weight in flow.parameters():
            weight += 0.01 * torch.randn(weight.shape, generator=generator)
    return flow.eval()


def to_onnx(module: torch.nn.Module, features: int) -> bytes:
    """Return the module's ONNX file for batches of any size."""
    buffer = io.BytesIO()
    program = torch.onnx.export(
        module,
        (torch.zeros(2, features),),
        input_names=['features'],
        output_names=['nll'],
        dynamic_shapes=({0: torch.export.Dim('n')},),
        dynamo=True,
        verbose=False,
    )
    program.save(buffer)
    return buffer.getvalue()


def measure(
    features: int, *, hidden: int, couplings: int, mixing: str, rounds: int, burst: int
) -> dict[str, Any]:
    """Return parity, times and the ratio as plain values."""
    torch.set_num_threads(1)
    before = context()
    flow = make_flow(features, hidden=hidden, couplings=couplings, mixing=mixing)
    model = to_onnx(fold(flow).float().eval(), features)
    session = open_session(model)
    inputs = torch.randn(8, features, generator=torch.Generator().manual_seed(3))
    rows = [inputs[k : k + 1] for k in range(8)]  # 8 x (1, D)
    arrays = [row.numpy() for row in rows]

    with torch.inference_mode():
        truth = flow.double().log_prob(inputs.double()).numpy()  # (8,)
        flow.float()
        (nll,) = session.run(['nll'], {'features': inputs.numpy()})  # (8,)
        times = interleave(
            {
                'nflows log_prob': lambda k: flow.log_prob(rows[k % 8]),
                'folded, ONNX Runtime': lambda k: session.run(
                    ['nll'], {'features': arrays[k % 8]}
                ),
            },
            rounds=rounds,
            burst=burst,
            warm_up=5,
        )
    error = float((abs(-nll - truth) / abs(truth)).max())
    found = ratio(times['nflows log_prob'], times['folded, ONNX Runtime'])
    return {
        'flow': {
            'features': features,
            'hidden': hidden,
            'couplings': couplings,
            'mixing': mixing,
            'onnx_mib': len(model) / 2**20,
        },
        'settings': {'rounds': rounds, 'burst': burst, 'batch': 1, 'threads': 1},
        'context': {**before, 'torch': torch.__version__},
        'parity': {'relative_error': error, 'at_most': RELATIVE, 'met': error <= RELATIVE},
        'times_ms': {name: summary(values) for name, values in times.items()},
        'ratio': {**vars(found), 'goal_at_least': AT_LEAST, 'met': found.median >= AT_LEAST},
    }


def main() -> None:
    """Measure, print, and write the file asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--features', type=int, default=1280)
    parser.add_argument('--hidden', type=int, default=512)
    parser.add_argument('--couplings', type=int, default=8)
    parser.add_argument('--mixing', default='lu', choices=('lu', 'permutation'))
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    facts = measure(
        args.features,
        hidden=args.hidden,
        couplings=args.couplings,
        mixing=args.mixing,
        rounds=args.repeats,
        burst=3,
    )
    keys = ('min', 'p50', 'p90', 'p99')
    rows = [('ms', *keys)]
    for name, times in facts['times_ms'].items():
        rows.append((name, *(f'{times[key]:.3f}' for key in keys)))
    print(text_table(rows))
    found, parity = facts['ratio'], facts['parity']
    word = 'met' if found['met'] else 'NOT MET'
    print(f'{found["median"]:.1f} times faster (minima {found["of_minima"]:.1f}), goal 10: {word}')
    print(f'relative error {parity["relative_error"]:.1e}, at most {RELATIVE:.0e}')
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1, allow_nan=False) + '\n')


if __name__ == '__main__':
    main()
