"""A training report on disk: the page, its pictures and its numbers."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from ros_ood_monitor.atomic import new_folder
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.json_values import finite
from ros_ood_monitor.packages import import_problem
from ros_ood_monitor.training.report.data import ReportData
from ros_ood_monitor.training.report.figures import draw_all
from ros_ood_monitor.training.report.page import render

__all__ = ['facts', 'write_report']

_PICTURES: Final = ('atypical', 'sheet', 'examples', 'map_examples')


def write_report(folder: Path | str, data: ReportData) -> Path:
    """
    Write ``index.html``, the figures as PNG, and ``report.json`` with all numbers.

    Parameters
    ----------
    folder : Path or str
        Folder of the report; one that holds a report is replaced, whole or not at all.
    data : ReportData
        What to show.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    TrainingError
        If the folder holds something else, cannot be written, or matplotlib cannot be imported.

    """
    folder = Path(folder)
    _check_target(folder)
    try:
        figures = draw_all(data)
    except ImportError as error:
        msg = f'the report needs {import_problem(error)}'
        raise TrainingError(msg) from error
    numbers = json.dumps(facts(data), indent=1, allow_nan=False)
    page = render(data, figures)
    try:
        with new_folder(folder) as aside:
            for name, png in figures.items():
                (aside / name).write_bytes(png)
            (aside / 'report.json').write_text(numbers + '\n', encoding='utf-8')
            (aside / 'index.html').write_text(page, encoding='utf-8')
    except OSError as error:
        msg = f'report could not be written ({error.strerror or error}): {folder}'
        raise TrainingError(msg) from error
    return folder / 'index.html'


def _check_target(folder: Path) -> None:
    if folder.is_dir():
        is_report = (folder / 'report.json').is_file() or not any(folder.iterdir())
    else:
        is_report = not folder.exists()
    if not is_report:
        msg = f'report folder holds something else, so it is not replaced: {folder}'
        raise TrainingError(msg)


def facts(data: ReportData) -> dict[str, Any]:
    """
    Return every number of a report as plain values.

    Parameters
    ----------
    data : ReportData
        What the report shows.

    Returns
    -------
    dict
        Serialisable as JSON; a number that is not finite is None, pictures are left out.

    """
    values = {
        item.name: _plain(getattr(data, item.name))
        for item in dataclasses.fields(data)
        if item.name not in _PICTURES
    }
    values['verdict'] = data.sentence()
    values['atypical'] = [
        {'label': one.label, 'place': one.place, 'masked': one.masked, 'plain': one.plain}
        for one in data.atypical
    ]
    for calibration, row in zip(data.calibrations, values['calibrations'], strict=True):
        row['auroc_pseudo_ood'] = _plain(calibration.auroc_by_kind())
        row['over_trigger'] = _plain(calibration.over_trigger())
        row['over_trigger_pseudo_ood'] = _plain(calibration.over_trigger_by_kind())
    for tap, row in zip(data.taps, values['taps'], strict=True):
        row['auroc_pseudo_ood'] = _plain(tap.auroc_by_kind())
    return values


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, '_asdict'):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return finite(value)
    return str(value)
