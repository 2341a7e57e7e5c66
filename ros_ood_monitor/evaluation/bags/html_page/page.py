"""The page of an evaluation: its head, its sections in order, and the script that draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
import json
from typing import Any, Final

from ros_ood_monitor.evaluation.bags import report
from ros_ood_monitor.evaluation.bags.compare import Comparison
from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
from ros_ood_monitor.evaluation.bags.html_page.alert_sections import alerts_section, worst_section
from ros_ood_monitor.evaluation.bags.html_page.curves import timelines
from ros_ood_monitor.evaluation.bags.html_page.fact_sections import (
    against_section,
    bundle_section,
    command_section,
    figures_section,
    health_section,
)
from ros_ood_monitor.evaluation.bags.html_page.page_data import page_data
from ros_ood_monitor.evaluation.bags.html_page.pictures import Picture
from ros_ood_monitor.evaluation.bags.html_page.plot_sections import (
    explorer_section,
    scores_section,
    time_section,
)
from ros_ood_monitor.evaluation.bags.html_page.summary import cards, failed_bags, verdict_box
from ros_ood_monitor.evaluation.gate import GateOutcome
from ros_ood_monitor.html_parts import bullets, page_head, sections, STYLE

__all__ = ['render']

# nothing from outside is loaded, whatever a name or a library says
_POLICY: Final = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
)


def render(
    evaluation: BagEvaluation,
    comparisons: Sequence[Comparison],
    *,
    pictures: Sequence[Picture],
    problems: Sequence[str],
    plotly: str,
    command: str,
    card: Sequence[str],
    gate: GateOutcome | None,
    beside: Mapping[str, str],
) -> str:
    """
    Return the page.

    Parameters
    ----------
    evaluation : BagEvaluation
        What `evaluate_bags` found.
    comparisons : sequence of Comparison
        Other bundles beside it.
    pictures : sequence of Picture
        Frames to show, as far as they could be read.
    problems : sequence of str
        What could not be read.
    plotly : str
        The library that draws, as a script.
    command, card, gate, beside
        As for `write_html`.

    Returns
    -------
    str
        HTML without a reference to anything outside of it.

    """
    shown = [picture for picture in pictures if picture.jpeg]
    curves = timelines(evaluation)
    data = page_data(evaluation, curves, shown)
    parts = [
        ('failed', 'Bags that could not be evaluated', failed_bags(evaluation, comparisons)),
        ('time', 'Score over time', time_section(evaluation, curves)),
        ('alerts', 'Alerts and events', alerts_section(evaluation, shown)),
        ('explorer', 'Another threshold', explorer_section(data['explorer'])),
        ('scores', 'How far apart the frames are', scores_section(data)),
        ('worst', 'Highest normal frames, lowest frames of events', worst_section(shown)),
        ('figures', 'Figures', figures_section(evaluation)),
        ('against', 'Bundles side by side', against_section(comparisons)),
        ('health', 'Health and timing', health_section(evaluation)),
        ('bundle', 'Bundle', bundle_section(evaluation, card)),
        ('command', 'Command and versions', command_section(command, beside)),
    ]
    links, bodies = sections(parts)
    name = evaluation.bundle.manifest.name
    doubts = [*problems, *report.notes(evaluation, comparisons)]
    return (
        f'{page_head(f"{name}: evaluation", STYLE + _asset("page.css"), _POLICY)}<body>'
        f'<header><h1>Evaluation of {escape(name)}</h1>'
        f'<p class="dim">bundle digest <code>{escape(evaluation.bundle.digest)}</code></p>'
        f'{verdict_box(evaluation, comparisons, gate)}{cards(evaluation)}'
        '<noscript><p class="warn">Curves and pictures need JavaScript, which is off.</p>'
        f'</noscript><nav>{links}</nav></header>{bodies}'
        f'<section id="notes"><h2>Notes</h2>{bullets(doubts)}</section>{_VIEWER}'
        f'<script type="application/json" id="data">{_json(data)}</script>'
        f'<script>{plotly}</script><script>{_asset("page.js")}</script></body></html>\n'
    )


_VIEWER: Final = (
    '<dialog id="viewer"><img id="view-image" alt=""><p id="view-text"></p>'
    '<button id="view-previous">Previous (←)</button><button id="view-next">Next (→)</button>'
    '<button id="view-heat">Heat-map (h)</button><button id="view-close">Close (Esc)</button>'
    '</dialog>'
)


def _asset(name: str) -> str:
    return (files(__package__ or '') / name).read_text(encoding='utf-8')


def _json(data: Any) -> str:
    """Return JSON that no name in it can end: it has no tag."""
    text = json.dumps(data, allow_nan=False, separators=(',', ':'))
    return text.replace('&', '\\u0026').replace('<', '\\u003c').replace('>', '\\u003e')
