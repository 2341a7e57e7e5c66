"""Recordings of alerts that a person has looked at: which of them are trained on."""

from __future__ import annotations

from collections.abc import Iterable
import logging
from pathlib import Path

from ros_ood_monitor.errors import BagError, TrainingError
from ros_ood_monitor.recorder import find_recordings
from ros_ood_monitor.training.frames.sources import few

__all__ = ['marked_recordings']

_log = logging.getLogger(__name__)


def marked_recordings(paths: Iterable[Path | str]) -> list[Path]:
    """
    Find the recordings that somebody has marked as in-distribution.

    The others are logged as a warning: nothing that raised an alert becomes normal unseen.

    Parameters
    ----------
    paths : iterable of Path or str
        Recordings, and folders that are searched for them.

    Returns
    -------
    list of Path
        Their folders, at least one.

    Raises
    ------
    TrainingError
        If there is none, or a folder or summary cannot be read.

    """
    try:
        found = find_recordings(paths)
    except BagError as error:
        raise TrainingError(str(error)) from error
    by_mark: dict[str, list[str]] = {'': [], 'ood': [], 'id': []}
    for recording in found:
        by_mark[recording.mark].append(recording.path.name)
    told = [
        f'{len(names)} {what} ({few(names)})'
        for names, what in ((by_mark[''], 'not marked'), (by_mark['ood'], 'marked as OOD'))
        if names
    ]
    if not by_mark['id']:
        msg = (
            f'no recording to add is marked as in-distribution: {"; ".join(told)}; look at them '
            f'and run: ood_monitor mark RECORDING --id: {found[0].path.parent}'
        )
        raise TrainingError(msg)
    if told:
        _log.warning('recordings not added: %s', '; '.join(told))
    return [recording.path for recording in found if recording.mark == 'id']
