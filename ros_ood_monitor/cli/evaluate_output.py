"""What ``ood_monitor evaluate`` does with reports and limits, of bags and of images alike."""

from __future__ import annotations

from pathlib import Path
import sys
from typing import Any

__all__ = ['end_of_gate', 'is_page']


def is_page(report: str) -> bool:
    """Return whether a report is to be a page in HTML."""
    from ros_ood_monitor.evaluation.bags.html_page import HTML_SUFFIXES

    return Path(report).suffix.lower() in HTML_SUFFIXES


def end_of_gate(outcome: Any) -> int:
    """
    Say what came of limits.

    Parameters
    ----------
    outcome : GateOutcome or None
        From `hold_gate`.

    Returns
    -------
    int
        The exit code: 1 where a limit is not kept.

    Raises
    ------
    ParameterError
        If the limits could not be held against anything.

    """
    from ros_ood_monitor.errors import ParameterError

    if outcome is None:
        return 0
    if outcome.error:
        raise ParameterError(outcome.error)
    for one in outcome.short:
        print(f'gate: {one}', file=sys.stderr)
    if outcome.is_kept:
        print(f'gate: all {outcome.limits} limits kept')
    return 0 if outcome.is_kept else 1
