"""Sections of plain facts: figures, health, the bundle, and how the page was made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
import math

import numpy as np

from ros_ood_monitor.evaluation.bags import report
from ros_ood_monitor.evaluation.bags.compare import Comparison
from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
from ros_ood_monitor.evaluation.bags.html_page.tables import cut_table
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.html_parts import Number, number, pairs, table

__all__ = [
    'against_section',
    'bundle_section',
    'command_section',
    'figures_section',
    'health_section',
]


def figures_section(evaluation: BagEvaluation) -> str:
    """Return all figures as the terminal shows them."""
    return ''.join(_plain(rows) for rows in report.tables(evaluation))


def against_section(comparisons: Sequence[Comparison]) -> str:
    """Return what other bundles do better and worse."""
    return ''.join(
        f'<h3>{escape(report.title(one))}</h3>{_plain(report.difference_rows(one))}'
        for one in comparisons
    )


def _plain(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    return table(head, [(name, *map(Number, cells)) for name, *cells in body])


def health_section(evaluation: BagEvaluation) -> str:
    """Return input health and processing time of each bag."""
    rows = []
    for bag in evaluation.bags:
        scored, facts = bag.scored, bag.scored.facts
        p50, p99 = np.quantile(scored.latency_ms, [0.5, 0.99]).tolist()
        rate = len(scored) / facts.wall if facts.wall > 0.0 else math.nan
        failing = ', '.join(f'{name} {count}' for name, count in facts.health.items())
        rows.append(
            (bag.name, number(len(scored), 'd'), number(facts.skipped, 'd'),
             number(p50, '.2f'), number(p99, '.2f'),
             number(float(scored.latency_ms.max()), '.2f'), number(rate, '.1f'),
             failing or 'nothing')
        )  # fmt: skip
    words = (
        'Processing time of a frame inside the monitor, in ms; frames/s with reading and '
        'decoding, here and not on the robot. Last: frames that failed a check of input health.'
    )
    head = ('bag', 'frames', 'not decoded', 'p50', 'p99', 'longest', 'frames/s', 'failed checks')
    return f'<p class="dim">{words}</p>' + cut_table(head, rows)


def bundle_section(evaluation: BagEvaluation, card: Sequence[str]) -> str:
    """Return what was evaluated."""
    manifest, point = evaluation.bundle.manifest, evaluation.calibration.operating_point
    facts = {
        'name': manifest.name,
        'digest': evaluation.bundle.digest,
        'ran on': ' '.join(evaluation.engine[key] for key in ('engine', 'version', 'precision')),
        'input': f'{manifest.input_width}x{manifest.input_height}',
        'unit of raw_score': manifest.unit,
        'threshold': f'{evaluation.threshold:.6g}',
        'alert logic': point.logic,
        'held-out frames it was calibrated with': evaluation.calibration.raw_score.size,
        'false alerts per hour': 'established' if point.rate_established else 'not established',
    }
    lines = '\n'.join(card)
    return pairs(facts) + (f'<pre>{escape(lines)}</pre>' if card else '')


def command_section(command: str, beside: Mapping[str, str]) -> str:
    """Return the command, the files beside the page, and the machine."""
    machine = context()
    versions = machine.pop('versions')
    facts = {**{key.replace('_', ' '): value for key, value in machine.items()}, **versions}
    html = f'<pre id="command-line">{escape(command)}</pre>' if command else ''
    if beside:
        html += _named(beside.items())
    return html + pairs(facts)


def _named(rows: Iterable[tuple[str, str]]) -> str:
    return table(('file beside this page', ''), rows)
