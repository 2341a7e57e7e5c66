"""Tables of a page that end before they are too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ros_ood_monitor.html_parts import table

__all__ = ['cut_table']

_MOST_ROWS: Final = 60


def cut_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table of its first rows, and how many more there are."""
    html = table(head, rows[:_MOST_ROWS])
    if len(rows) > _MOST_ROWS:
        html += f'<p class="dim">{len(rows) - _MOST_ROWS} more are in the JSON file.</p>'
    return html
