"""Tables as text, and files that are there whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ros_ood_monitor.atomic import new_file
from ros_ood_monitor.errors import ParameterError

__all__ = ['markdown_table', 'text_table', 'write_text']


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """
    Align columns: the first to the left, the others to the right.

    Parameters
    ----------
    rows : sequence of sequence of str
        Cells; the first row is the head.

    Returns
    -------
    str
        A line for each row.

    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join(
            cell.rjust(width) if k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """
    Return a Markdown table: the first column to the left, the others to the right.

    Parameters
    ----------
    rows : sequence of sequence of str
        Cells; the first row is the head.

    Returns
    -------
    str
        A line for each row, and the rule under the head.

    """
    ruled = [rows[0], ['---', *['---:'] * (len(rows[0]) - 1)], *rows[1:]]
    return '\n'.join(f'| {" | ".join(row)} |' for row in ruled)


def write_text(path: str | Path, text: str) -> None:
    """
    Write a file that is there whole or not at all.

    Parameters
    ----------
    path : str or Path
        Target; one that is there is replaced.
    text : str
        Its content.

    Raises
    ------
    ParameterError
        If it cannot be written; what was there before is still there.

    """
    try:
        with new_file(Path(path)) as aside:
            aside.write_text(text, encoding='utf-8')
    except OSError as error:
        msg = f'result could not be written ({error.strerror or error}): {path}'
        raise ParameterError(msg) from error
