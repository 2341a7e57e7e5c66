"""
Render the documentation's tables of measurements from the files in ``results``.

Usage::

    python -m tests.bench.tables [--write]

A table stands between ``<!-- rendered by: python -m tests.bench.tables NAME -->`` and
``<!-- end -->``; a test compares. A measurement of another machine becomes a row when its file
lies in ``results``: ``ood_monitor bench BUNDLE --engine ENGINE --json
tests/bench/results/engine_NAME.json``. What nobody has run is "not measured".
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
import json
import math
from pathlib import Path
import re
from statistics import fmean, stdev
from typing import Any

RESULTS = Path(__file__).resolve().parent / 'results'
ROOT = RESULTS.parents[2]
NOBODY = 'not measured'
FILES = (
    'README.md',
    'docs/performance.md',
    'docs/engines.md',
    'docs/scale.md',
    'docs/tuning_alerts.md',
    'docs/unmask.md',
)
EXPECTED = {
    'onnxruntime': 'CPU',
    'tensorrt': 'NVIDIA GPU: Jetson, desktop',
    'tensorrt_rtx': 'NVIDIA RTX GPU',
    'onnxruntime-cuda': 'NVIDIA GPU',
    'onnxruntime-tensorrt': 'NVIDIA GPU',
}
"""What a table of engines is not complete without."""


def read(name: str) -> Any:
    return json.loads((RESULTS / f'{name}.json').read_text(encoding='utf-8'))


def table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f'| {" | ".join(row)} |'.replace('|  |', '| |') for row in rows]
    return '\n'.join([lines[0], '|' + '---|' * len(rows[0]), *lines[1:]])


def brief() -> str:
    """Return the README's rows of `speed`: the ratio, the time, the memory, and the node's."""
    head, *rows = _speed_rows()
    wanted = ('`Monitor.observe`', 'peak memory', 'node,')
    kept = [row for row in rows if row[0].startswith(wanted)]
    assert len(kept) == 4, kept
    return table([head, *kept])


def speed() -> str:
    """Return what the monitor adds, and what it takes."""
    return table(_speed_rows())


def _speed_rows() -> list[tuple[str, ...]]:
    bench, lu, fde = (
        read(name)
        for name in (
            'engine_cpu_ort_fp32_lunar_orbit',
            'cpu_ort_fp32_folding_lu_1280',
            'cpu_ort_fp32_fde_paper_speed_1280',
        )
    )
    node = read('node_cpu_ort_fp32_640x480_30hz')['node']
    sent = read('node_cpu_ort_fp32_640x480_30hz')['camera']['sent']
    loaded = read('node_transport_600s_loaded')['setups']['vga']
    ratios, imports = bench['ratios'], bench['imports']
    process = bench.get('process') or bench['memory']  # which older files have
    lightest, helped = (f'{i["ms_median"]:.0f} ms' for i in imports.values())
    observe = bench['times_ms']['observe_camera']

    def goal(name: str) -> tuple[str, str]:
        found = ratios[name]
        return f'{found["median"]:.2f}', f'at most {found["goal_at_most"]:.2f}'

    def times(found: dict[str, Any]) -> tuple[str, str]:
        missed = '' if found['met'] else ', not met: its weights come at the speed of memory'
        return f'{found["median"]:.1f}', f'at least {found["goal_at_least"]:.0f}{missed}'

    return [
        ('What', 'measured', 'goal'),
        (
            '`Monitor.observe` on a 640x480 frame / the bare ONNX Runtime calls',
            *goal('observe 640x480 / bare'),
        ),
        ('the same on a frame of the input size', *goal('observe input-size / bare')),
        ('(backbone + scorer) / backbone, map included', *goal('(backbone + scorer) / backbone')),
        (
            "nflows' own `log_prob` of an LU flow at D = 1280 / folded, in ONNX Runtime",
            *times(lu['ratio']),
        ),
        (
            'the published computation of `fde_paper` at D = 1280 / folded, in ONNX Runtime',
            *times(fde['ratio']),
        ),
        (
            '`Monitor.observe`, 640x480',
            f'min {observe["min"]:.1f} ms, p50 {observe["p50"]:.1f} ms, '
            f'p99 {observe["p99"]:.1f} ms',
            '',
        ),
        ('peak memory of a process that monitors', f'{process["peak_mib"]:.0f} MiB', ''),
        (
            '`import ros_ood_monitor`, `ood_monitor --help`',
            f'{lightest}, {helped}; neither loads torch, rclpy or matplotlib',
            '',
        ),
        (
            f'node, 640x480 rgb8 at 30 Hz from a second process for 300 s, {sent} frames sent',
            f'{node["scored"]} scored ({node["rate_hz"]:.1f} Hz), latency '
            f'p50 {node["latency_ms"]["p50"]:.0f} ms, p99 {node["latency_ms"]["p99"]:.0f} ms, '
            f'{node["dropped"] or "none"} dropped, {node["cpu_share_of_a_core"]:.2f} of a core; '
            f'{node["rss_mib_start"]:.0f} MiB after the start, '
            f'{node["rss_mib_end"]:.0f} at the end',
            '',
        ),
        (
            'ten minutes of the same while other processes kept both cores busy, '
            f'{loaded["camera"]["sent"]} frames sent',
            f'{loaded["node"]["received"]} received, {loaded["node"]["scored"]} scored, '
            f'{loaded["node"]["dropped"]} replaced by a newer one; '
            f'{loaded["node"]["rss_mib_start"]:.0f} MiB after the start, '
            f'{loaded["node"]["rss_mib_end"]:.0f} at the end',
            '',
        ),
        ('decoding a frame of 640x480 (1920x1080), ms p50: ' + '; '.join(DECODED), decoding(), ''),
    ]


DECODED = ('rgb8', 'bgr8', 'mono16', 'bayer_rggb8', 'uyvy', 'nv12', 'jpeg')


def decoding() -> str:
    small, large = (read('cpu_decode_speed')['frames'][size] for size in ('640x480', '1920x1080'))
    pairs = ((small[name]['ms']['p50'], large[name]['ms']['p50']) for name in DECODED)
    return '; '.join(f'{a:.2g} ({b:.2g})' for a, b in pairs)


def engines() -> str:
    """Return a row for each measured engine, and for each that nobody has measured."""
    rows: list[tuple[str, ...]] = [
        ('engine', 'on', 'precision', 'engine, ms min / p50 / p99', 'monitor, frames/s', 'ready'),
    ]
    found = [read(path.stem) for path in sorted(RESULTS.glob('engine_*.json'))]
    for name, device in EXPECTED.items():
        own = [facts for facts in found if of_bench(facts) == name]
        for facts in own:
            infer = facts['times_ms']['infer']
            frames = 1e3 / facts['times_ms']['observe_camera']['p50']
            process = facts.get('process')
            rows.append(
                (
                    *_where(name, facts),
                    ' / '.join(f'{infer[key]:.1f}' for key in ('min', 'p50', 'p99')),
                    f'{frames:.0f}',
                    f'{process["ready_s"]:.1f} s' if process else NOBODY,
                )
            )
        if not own:
            rows.append((f'`{name}`', device, *[NOBODY] * 4))
    return table(rows)


def _where(name: str, facts: dict[str, Any]) -> tuple[str, str, str]:
    engine = facts['engine']
    is_cpu = engine['device'] == 'cpu'
    device = facts['context']['cpu'] + ', one thread' if is_cpu else engine['device']
    return f'`{name}` {engine["version"]}', device, engine['precision']


def of_bench(facts: dict[str, Any]) -> str:
    """Return the name by which the engine of a measurement is asked for."""
    provider = facts['engine']['device'].partition(', ')[2].lower()
    return '-'.join(filter(None, (facts['engine']['engine'], provider)))


def precisions() -> str:
    """Return what each precision costs and gains on the CPU."""
    facts = read('cpu_engines')
    sets = list(next(iter(facts['precisions'].values()))['auroc'])
    rows: list[tuple[str, ...]] = [
        (
            'precision',
            'MiB',
            'backbone / fp32, median (of minima)',
            'monitor / its backbone',
            *(f'AUROC {name} (less fp32)' for name in sets),
            'error of raw_score: mean (largest, in its unit)',
            'of score: largest',
        )
    ]
    for name, p in facts['precisions'].items():
        of_fp32, own, error = (
            p['backbone_of_fp32'],
            p['observe_of_backbone'],
            p['raw_score_error'],
        )
        is_first = name == 'fp32'
        aurocs = (
            f'{a["auroc"]:.3f}' + ('' if is_first else f' ({a["less_fp32"]:+.4f})')
            for a in p['auroc'].values()
        )
        rows.append(
            (
                f'`{name}`',
                f'{p["mib"]:.1f}',
                '1' if is_first else f'{of_fp32["median"]:.2f} ({of_fp32["of_minima"]:.2f})',
                f'{own["median"]:.2f}',
                *aurocs,
                '0'
                if is_first
                else f'{p["raw_score_error_sigma"]:.3f} sigma ({error["max"]:.2g})',
                '0' if is_first else f'{p["score_error_max"]:.3f}',
            )
        )
    return table(rows)


def builds() -> str:
    """Return what the engines that were built take to build, and how large they are."""
    rows: list[tuple[str, ...]] = [('library', 'bundle', 'precision', 'built in', 'MiB')]
    for built in read('trt_builds')['builds']:
        rows.append(
            (
                f'`{built["library"]}` {built["version"]}',
                built['bundle'],
                built['precision'],
                f'{built["build_s"]:.1f} s',
                f'{built["mib"]:.1f}',
            )
        )
    rows.append(('`tensorrt`', '', *[NOBODY] * 3))
    return table(rows)


def batches() -> str:
    """Return what each engine gains by taking several pictures in one call."""
    counts = ('2', '3', '4', '8')
    rows: list[tuple[str, ...]] = [
        ('engine', 'on', 'precision', *(f'{count} pictures' for count in counts)),
    ]
    found = [read(path.stem) for path in sorted(RESULTS.glob('batches_*.json'))]
    for name, device in EXPECTED.items():
        own = [facts for facts in found if of_bench(facts) == name]
        for facts in own:
            ratios = facts['one_call_of_single_calls']
            cells = (f'{ratios[c]["median"]:.2f}' for c in counts)
            rows.append((*_where(name, facts), *cells))
        if not own:
            rows.append((f'`{name}`', device, *[NOBODY] * (1 + len(counts))))
    return table(rows)


HOURS, HZ = 10_000, 10  # of bags, and frames of a camera in a second
NIGHT_H, CORES = 10, 16
STAGES = ('read', 'decode', 'monitor', 'engine')


def scale_stages() -> str:
    """Return what a frame of a bag costs, stage by stage."""
    rows: list[tuple[str, ...]] = [
        ('camera', 'kB a frame', *(f'{name}, ms' for name in STAGES), 'frames/s of a core'),
    ]
    for name, found in read('cpu_ort_fp32_scale')['frames'].items():
        ms = found['median_ms']
        rows.append(
            (
                name,
                f'{found["bytes"] / 1e3:.0f}',
                *(f'{ms[stage]:.1f}' for stage in STAGES),
                f'{1e3 / ms["all"]:.0f}',
            )
        )
    return table(rows)


def scale_cost() -> str:
    """Return what many bag-hours cost, by the camera."""
    rows: list[tuple[str, ...]] = [
        (
            'camera',
            'bags, TB',
            'core-hours',
            f'machines of {CORES} cores for a night of {NIGHT_H} h',
            'from the disks then, Gbit/s',
        )
    ]
    frames = HOURS * 3600 * HZ
    for name, found in read('cpu_ort_fp32_scale')['frames'].items():
        hours = frames * found['median_ms']['all'] / 1e3 / 3600
        size = frames * found['bytes']
        rows.append(
            (
                name,
                f'{size / 1e12:.2g}' if size < 1e13 else f'{size / 1e12:,.0f}',
                f'{hours:,.0f}',
                f'{math.ceil(hours / NIGHT_H / CORES)}',
                f'{8 * size / NIGHT_H / 3600 / 1e9:.2g}'
                if size < 1e14
                else f'{8 * size / NIGHT_H / 3600 / 1e9:.0f}',
            )
        )
    return table(rows)


def scale_workers() -> str:
    """Return what the workers of each executor cost."""
    rows: list[tuple[str, ...]] = [
        (
            'two workers of',
            'first shard after',
            'a further one, besides its frames',
            'memory of a worker',
        ),
    ]
    for name, found in read('cpu_ort_fp32_scale')['workers'].items():
        rows.append(
            (
                f'`{name}`',
                f'{found["first_s"]:.1f} s',
                f'{found["further_ms"]:.1f} ms',
                f'{found["worker_mb"]:.0f} MB',
            )
        )
    return table(rows)


RATES = {
    'consecutive': 'false_alert_rate',
    **{name: f'false_alert_rate_{name}' for name in ('ewma', 'cusum', 'martingale')},
}
"""Files of simulated deployments, by alert logic."""


def rates() -> str:
    """Return a row for each simulated world and alert logic."""
    found = {logic: read(name)['worlds'] for logic, name in RATES.items()}
    rows: list[tuple[str, ...]] = [
        (
            'world (offsets of days in sd of the scores)',
            'logic',
            'refused: beyond hearing, too much in alert',
            'bound, observed: medians per hour',
            'observed within the bound',
            'established at R = 1',
            'of these observed at most R',
        )
    ]
    for world in found['consecutive']:
        title = (
            f'{world["name"]} ({world["offset"]:g}): {world["sequences"]} x {world["hours"]:g} h, '
            f'stated on {world["stating_hours"]:.1f} h'
        )
        for logic, worlds in found.items():
            for one in worlds:
                if one['name'] == world['name']:
                    rows.append((title, f'`{logic}`', *_deployments(one)))
                    title = ''
    return table(rows)


def _deployments(one: dict[str, Any]) -> tuple[str, ...]:
    number = one['deployments']
    stated = number - one['refused'] - one['too_much_in_alert']

    def share(part: int, whole: int) -> str:
        return f'{100.0 * part / whole:.1f}%' if whole else 'none'

    return (
        f'{share(one["refused"], number)}, {share(one["too_much_in_alert"], number)}',
        f'{one["bound_median"]:.2f}, {one["observed_median"]:.2f}',
        f'{share(one["within_bound"], stated)} of {stated}',
        share(one['established'], number),
        share(one['established_within_asked'], one['established']),
    )


def unmasked(runs: Sequence[dict[str, Any]]) -> str:
    """Return energy on every set, other scores on the near one, loss, accuracy and cost."""
    kinds = list(runs[0]['rows']['plain']['scores']['energy'])
    others = ('msp', 'odin', 'mahalanobis', 'flow')
    head = ('', *kinds, 'near: msp', *others[1:], 'fitted loss', 'accuracy', 'CPU s')
    shown: list[Sequence[str]] = [head]
    for name in runs[0]['rows']:
        rows = [run['rows'][name] for run in runs]
        seconds = [run['cpu_seconds'].get(name) for run in runs]
        shown.append(
            (
                name,
                *(
                    ', '.join(
                        (
                            _spread([row['scores']['energy'][kind][0] for row in rows]),
                            *(
                                f'{fmean(row["scores"]["energy"][kind][k] for row in rows):.3f}'
                                for k in (1, 2)
                            ),
                        )
                    )
                    for kind in kinds
                ),
                *(f'{fmean(row["scores"][one]["near"][0] for row in rows):.3f}' for one in others),
                f'{fmean(row["loss"] for row in rows):.3f}',
                _spread([row['accuracy'] for row in rows]),
                '' if None in seconds else f'{fmean(seconds):.0f}',
            )
        )
    return table(shown)


def _spread(values: Sequence[float], sign: str = '') -> str:
    return f'{fmean(values):{sign}.3f} ± {stdev(values):.3f}'


def unmask_stages() -> str:
    """Return AUROC of near-OOD by energy: the curve of training, and what each method gains."""
    rows: list[tuple[str, ...]] = [
        (
            'set',
            'mean curve: its best',
            'its end',
            'best pass of the other seeds, less the end',
            '`um` less the end',
            '`umap` less the end',
        )
    ]
    for name, runs in read('unmask')['sets'].items():
        passes = [stage['pass'] for stage in runs[0]['curve']]
        curves = [[stage['near'] for stage in run['curve']] for run in runs]

        def best(curves: Sequence[Sequence[float]]) -> int:
            means = [fmean(stage) for stage in zip(*curves, strict=True)]
            return means.index(max(means))

        top = best(curves)
        stopped = [
            curve[best([*curves[:k], *curves[k + 1 :]])] - curve[-1]
            for k, curve in enumerate(curves)
        ]
        gains = [
            [run['rows'][row]['near'] - run['rows']['plain']['near'] for run in runs]
            for row in ('um', 'umap')
        ]
        rows.append(
            (
                name,
                f'{fmean(curve[top] for curve in curves):.3f} at pass {passes[top]}',
                f'{fmean(curve[-1] for curve in curves):.3f}',
                *(
                    f'{_spread(values, "+")}, better {sum(x > 0 for x in values)} of {len(runs)}'
                    for values in (stopped, *gains)
                ),
            )
        )
    return table(rows)


def _unmask(name: str) -> Callable[[], str]:
    return lambda: unmasked(read('unmask')['sets'][name])


TABLES: dict[str, Callable[[], str]] = {
    'brief': brief,
    'speed': speed,
    'engines': engines,
    'precisions': precisions,
    'builds': builds,
    'batches': batches,
    'scale_stages': scale_stages,
    'scale_cost': scale_cost,
    'scale_workers': scale_workers,
    'rates': rates,
    'unmask_stages': unmask_stages,
    'unmask_digits': _unmask('digits'),
    'unmask_wrong': _unmask('digits, wrong labels'),
    'unmask_photographs': _unmask('photographs'),
}


def rendered(text: str) -> str:
    """Return a document with its tables as they are to be."""

    def fill(found: re.Match[str]) -> str:
        return f'{found[1]}\n{TABLES[found[2]]()}\n{found[3]}'

    mark = r'(<!-- rendered by: python -m tests\.bench\.tables (\w+) -->)\n.*?(<!-- end -->)'
    return re.sub(mark, fill, text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--write', action='store_true', help='into the documentation')
    args = parser.parse_args()
    for name, make in TABLES.items():
        print(f'{name}\n\n{make()}\n')
    for name in FILES if args.write else ():
        path = ROOT / name
        path.write_text(rendered(path.read_text(encoding='utf-8')), encoding='utf-8')


if __name__ == '__main__':
    main()
