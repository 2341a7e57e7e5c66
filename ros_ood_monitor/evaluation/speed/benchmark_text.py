"""A measurement of speed as text: ratios with their goals, times, memory and imports."""

from __future__ import annotations

from typing import Any

from ros_ood_monitor.evaluation.speed.fresh import UNWANTED
from ros_ood_monitor.evaluation.tables import text_table

__all__ = ['BUSY', 'to_text']

BUSY = 1.1
"""Ratio of a ratio's quartiles over which its median is not to be trusted."""


def to_text(facts: dict[str, Any]) -> str:
    """
    Return a measurement as text for a terminal.

    Parameters
    ----------
    facts : dict
        What `benchmark` returned.

    Returns
    -------
    str
        Tables of ratios with goals, times, memory and imports.

    """
    where, engine, process = facts['context'], facts['engine'], facts['process']
    head = [
        f'bundle {facts["bundle"]["name"]}, digest {facts["bundle"]["digest"][:12]}, '
        f'input {facts["bundle"]["input"]}, {engine["precision"]}',
        f'{engine["engine"]} {engine["version"]} on {engine["device"]}, {where["cpu"]}, '
        f'{where["cores"]} cores, load {where["load_average"][0]:.1f} before and '
        f'{where["load_average_after"][0]:.1f} after',
    ]
    ratios = [('ratio', 'median', 'quartiles', 'of minima', 'goal', '')]
    for name, r in facts['ratios'].items():
        quartiles = f'{r["low"]:.3f} to {r["high"]:.3f}'
        goal = f'<= {r["goal_at_most"]:.2f}'
        cells = (name, f'{r["median"]:.3f}', quartiles, f'{r["of_minima"]:.3f}', goal)
        ratios.append((*cells, _word(r['met'])))
    times = [('ms', 'min', 'p50', 'p90', 'p99')]
    for name, t in facts['times_ms'].items():
        times.append((name, *(f'{t[key]:.3f}' for key in ('min', 'p50', 'p90', 'p99'))))
    loads = [('loads', 'modules', 'ms', 'heavy', 'goal', '')]
    for name, i in facts['imports'].items():
        heavy = ' '.join(i['heavy']) or 'none'
        goal = f'none of {" ".join(UNWANTED)}'
        loads.append(
            (name, str(i['modules']), f'{i["ms_median"]:.0f}', heavy, goal, _word(i['met']))
        )
    resident = (
        f'monitor process: ready after {process["ready_s"]:.2f} s with the goldens reproduced; '
        f'{process["peak_mib"]:.0f} MiB at its peak, {process["end_mib"]:.0f} MiB '
        f'after {process["frames"]} frames, {process["ready_mib"]:.0f} MiB when ready'
    )
    if process['gpu_mib'] is not None:
        resident += f'; {process["gpu_mib"]:.0f} MiB of the GPU'
    first = next(iter(facts['precisions']))
    others: list[tuple[str, ...]] = [
        ('precision on the CPU', 'min', 'p50', f'/ {first}', 'of minima', 'MiB')
    ]
    for name, p in facts['precisions'].items():
        figures = (p['min'], p['p50'], p['ratio']['median'], p['ratio']['of_minima'])
        others.append((name, *(f'{value:.3f}' for value in figures), f'{p["mib"]:.1f}'))
    tables = [text_table(rows) for rows in (ratios, times, others, loads)]
    notes = [resident]
    if any(r['high'] / r['low'] > BUSY for r in facts['ratios'].values()):
        notes.append('quartiles far apart: the machine was busy; measure again when it is not')
    return '\n\n'.join(['\n'.join(head), *tables, *notes]) + '\n'


def _word(met: bool) -> str:
    return 'met' if met else 'NOT MET'
