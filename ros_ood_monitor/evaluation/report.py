"""An evaluation for people (text, Markdown) and for programs (JSON)."""

from __future__ import annotations

from collections.abc import Sequence
import json
import math
from pathlib import Path
from typing import Any

from ros_ood_monitor.atomic import new_file
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.evaluate import Evaluation
from ros_ood_monitor.evaluation.folders import ScoredFolder

__all__ = ['facts', 'markdown', 'text_table', 'to_json', 'to_text', 'write_text']

_HEAD = (
    'OOD folder', 'n', 'AUROC', '95 % interval', 'AUPR', 'fpr95_id_positive',
    'fpr95_ood_positive', 'over trigger', 'file size AUROC',
)  # fmt: skip


def facts(evaluation: Evaluation) -> dict[str, Any]:
    """
    Return everything an evaluation found, as plain values.

    Parameters
    ----------
    evaluation : Evaluation
        What `evaluate` found.

    Returns
    -------
    dict
        Serialisable as JSON; with the score of every image.

    """
    bundle = evaluation.bundle
    return {
        'bundle': {
            'name': bundle.manifest.name,
            'digest': bundle.digest,
            'unit': bundle.manifest.unit,
        },
        'engine': evaluation.engine,
        'operating_point': {
            'trigger': evaluation.trigger,
            'alpha': evaluation.alpha,
            'id_over_trigger': evaluation.id_over_trigger,
        },
        'bootstrap': {'seed': evaluation.seed, 'resamples': evaluation.resamples},
        'rows': [{**vars(row), 'auroc_95': list(row.auroc_95)} for row in evaluation.rows],
        'id_folder': _folder(evaluation.id_folder),
        'ood_folders': [_folder(folder) for folder in evaluation.ood_folders],
    }


def _folder(folder: ScoredFolder) -> dict[str, Any]:
    return {
        'name': folder.name,
        'count': len(folder.files),
        'sizes': folder.sizes,
        'skipped': [skipped._asdict() for skipped in folder.skipped],
        'trained_on': folder.known.known,
        'raw_score': dict(zip(folder.files, folder.raw_score.tolist(), strict=True)),
    }


def to_json(evaluation: Evaluation) -> str:
    """Return `facts` as JSON text."""
    return json.dumps(facts(evaluation), indent=1, allow_nan=False) + '\n'


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
        A head, a table with a line for each out-of-distribution folder, and notes.

    """
    table = text_table([_HEAD, *_cells(evaluation)])
    return '\n'.join([*_summary(evaluation), '', table, '', *_notes(evaluation)]) + '\n'


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
        A heading, the table and the notes.

    """
    rows = [_HEAD, ['---', *['---:'] * (len(_HEAD) - 1)], *_cells(evaluation)]
    table = '\n'.join(f'| {" | ".join(row)} |' for row in rows)
    summary = '\n'.join(f'- {line}' for line in _summary(evaluation))
    notes = '\n'.join(f'- {line}' for line in _notes(evaluation))
    title = f'# Evaluation of {evaluation.bundle.manifest.name}'
    return f'{title}\n\n{summary}\n\n{table}\n\n{notes}\n'


def _summary(evaluation: Evaluation) -> list[str]:
    bundle, engine, known = evaluation.bundle, evaluation.engine, evaluation.id_folder
    return [
        f'bundle {bundle.manifest.name}, digest {bundle.digest[:12]}, '
        f'{engine["engine"]} {engine["version"]}, {engine["precision"]}',
        f'in-distribution: {known.name}, {len(known.files)} images, '
        f'{evaluation.id_over_trigger:.1%} over the trigger {evaluation.trigger:.4g} '
        f'(set for {evaluation.alpha:.1%})',
    ]


def _cells(evaluation: Evaluation) -> list[list[str]]:
    return [
        [
            row.name,
            str(row.count),
            f'{row.auroc:.4f}',
            f'{row.auroc_95.low:.4f} to {row.auroc_95.high:.4f}',
            f'{row.aupr:.4f}',
            f'{row.fpr95_id_positive:.3f}',
            f'{row.fpr95_ood_positive:.3f}',
            f'{row.over_trigger:.1%}',
            f'{row.file_size_auroc:.3f}',
        ]
        for row in evaluation.rows
    ]


def _notes(evaluation: Evaluation) -> list[str]:
    known = evaluation.id_folder
    notes = [
        'fpr95_id_positive: share of OOD accepted when 95 % of ID is accepted; '
        'fpr95_ood_positive: share of ID flagged when 95 % of OOD is flagged',
        'file size AUROC: what the file size alone would reach; far from 0.5, the folders also '
        'differ in format',
    ]
    alpha, count = evaluation.alpha, len(known.files)
    if evaluation.id_over_trigger > alpha + 3.0 * math.sqrt(alpha * (1.0 - alpha) / count):
        notes.append(
            f'{known.name} exceeds the trigger more often than chance allows: these images are '
            'not drawn like the ones that the bundle was calibrated on'
        )
    for folder in evaluation.ood_folders:
        if _commonest(folder) != _commonest(known):
            notes.append(
                f'picture sizes differ: {known.name} mostly {_commonest(known)}, '
                f'{folder.name} mostly {_commonest(folder)}'
            )
    for folder in (known, *evaluation.ood_folders):
        if str(folder.known):
            notes.append(f'{folder.name}: {folder.known}')
        if folder.skipped:
            named = '; '.join(f'{file} ({reason})' for file, reason in folder.skipped[:5])
            more = f' and {len(folder.skipped) - 5} more' if len(folder.skipped) > 5 else ''
            notes.append(f'{folder.name}: {len(folder.skipped)} skipped: {named}{more}')
    return notes


def _commonest(folder: ScoredFolder) -> str:
    return next(iter(folder.sizes))


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
