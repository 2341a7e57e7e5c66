"""An evaluation for people: text and Markdown."""

from __future__ import annotations

from ros_ood_monitor.evaluation.images.evaluate import Evaluation
from ros_ood_monitor.evaluation.images.report.notes import note_lines, summary_lines
from ros_ood_monitor.evaluation.images.report.rows import table_rows
from ros_ood_monitor.evaluation.tables import markdown_table, text_table

__all__ = ['markdown', 'to_text']


def to_text(evaluation: Evaluation) -> str:
    """
    Return an evaluation as text for a terminal.

    Parameters
    ----------
    evaluation : Evaluation
        What `evaluate` found.

    Returns
    -------
    str
        A head, tables with a line for each out-of-distribution folder, and notes.

    """
    tables = '\n\n'.join(text_table(rows) for rows in table_rows(evaluation))
    return '\n'.join([*summary_lines(evaluation), '', tables, '', *note_lines(evaluation)]) + '\n'


def markdown(evaluation: Evaluation) -> str:
    """
    Return an evaluation as Markdown.

    Parameters
    ----------
    evaluation : Evaluation
        What `evaluate` found.

    Returns
    -------
    str
        A heading, the tables and the notes.

    """
    tables = '\n\n'.join(markdown_table(rows) for rows in table_rows(evaluation))
    summary = '\n'.join(f'- {line}' for line in summary_lines(evaluation))
    notes = '\n'.join(f'- {line}' for line in note_lines(evaluation))
    title = f'# Evaluation of {evaluation.bundle.manifest.name}'
    return f'{title}\n\n{summary}\n\n{tables}\n\n{notes}\n'
