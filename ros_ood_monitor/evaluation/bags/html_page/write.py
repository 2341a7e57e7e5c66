"""Writes the page of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ros_ood_monitor.atomic import check_output
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.bags.compare import Comparison
from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
from ros_ood_monitor.evaluation.bags.html_page.page import render
from ros_ood_monitor.evaluation.bags.html_page.pictures import choose_pictures, read_pictures
from ros_ood_monitor.evaluation.gate import GateOutcome
from ros_ood_monitor.evaluation.tables import write_text
from ros_ood_monitor.packages import import_problem

__all__ = ['HTML_SUFFIXES', 'check_html', 'write_html']

HTML_SUFFIXES: Final = ('.html', '.htm')


def check_html(path: Path | str) -> None:
    """
    Refuse a page that `write_html` could not write, before anything is computed for it.

    Parameters
    ----------
    path : Path or str
        The file to be.

    Raises
    ------
    ParameterError
        If it does not end in .html or .htm, is a folder, or plotly cannot be imported.

    """
    check_output(path, HTML_SUFFIXES)
    _plotly(path)


def write_html(
    path: Path | str,
    evaluation: BagEvaluation,
    comparisons: Sequence[Comparison] = (),
    *,
    command: str = '',
    card: Sequence[str] = (),
    gate: GateOutcome | None = None,
    beside: Mapping[str, str] | None = None,
) -> None:
    """
    Write an evaluation as one HTML file; a browser needs nothing else to show it.

    Frames that are shown are read from their bags again.

    Parameters
    ----------
    path : Path or str
        File to make, ``.html``.
    evaluation : BagEvaluation
        What `evaluate_bags` found.
    comparisons : sequence of Comparison
        Other bundles beside it.
    command : str
        What was run, for people to run it again.
    card : sequence of str
        Lines about the bundle.
    gate : GateOutcome, optional
        What came of the limits, where there were some.
    beside : mapping of str to str, optional
        What other files hold, by their names.

    Raises
    ------
    ParameterError
        If the file cannot be written, or plotly cannot be imported.
    EngineError
        If the engine fails at a frame that is to be shown.

    """
    check_html(path)
    pictures = choose_pictures(evaluation)
    problems = read_pictures(evaluation, pictures)
    page = render(
        evaluation,
        comparisons,
        pictures=pictures,
        problems=problems,
        plotly=_plotly(path),
        command=command,
        card=card,
        gate=gate,
        beside=beside or {},
    )
    write_text(path, page)


def _plotly(path: Path | str) -> str:
    """Return plotly.js."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        msg = f'a report in HTML needs {import_problem(error)}, or choose .md: {path}'
        raise ParameterError(msg) from error
    return str(get_plotlyjs())
