"""
Fitted flows kept beside the cached features, so that a training that was stopped repeats nothing.

A file holds the weights of the chosen step and the record of the fit, as tensors and plain values
only. Its name is a digest of everything that the fit depends on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
import io
from pathlib import Path
from typing import Any

import torch

from ros_ood_monitor.atomic import new_file
from ros_ood_monitor.training.cache import cache_key, explained
from ros_ood_monitor.training.fit_record import FitRecord, Look
from ros_ood_monitor.training.gaussian import Gaussian

__all__ = ['FitStore']

_FORMAT = 1


class FitStore:
    """
    A folder of fitted flows.

    Parameters
    ----------
    folder : Path
        Made where it is missing.

    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get_or_fit(
        self, facts: dict[str, Any], empty: Callable[[], Any], fit: Callable[[], Any]
    ) -> tuple[Any, FitRecord]:
        """
        Return the flow that was fitted under these facts, or fit it now.

        Parameters
        ----------
        facts : dict
            Plain values: everything that the fit depends on.
        empty : callable
            Returns a flow of the same make, whose weights are replaced.
        fit : callable
            Returns a fitted flow and its record.

        Returns
        -------
        tuple of Flow and FitRecord
            The same, whether it was kept or not.

        Raises
        ------
        TrainingError
            If the folder cannot be written.

        """
        key = cache_key(fit_format=_FORMAT, torch=torch.__version__, **facts)
        file = self._folder / f'{key}.pt'
        kept = _read(file)
        if kept is not None:
            flow = empty()
            try:
                flow.load_state_dict(kept['weights'])
                return flow, _record(kept)
            except (RuntimeError, KeyError, TypeError, ValueError):
                pass  # of another make: fit anew and replace it
        flow, record = fit()
        content = io.BytesIO()  # torch would tell of a full disk in its own words
        torch.save({'weights': flow.state_dict(), **_plain(record)}, content)
        with explained(self._folder), new_file(file) as aside:
            aside.write_bytes(content.getbuffer())
        return flow, record


def _read(file: Path) -> Any:
    if not file.is_file():
        return None
    try:
        return torch.load(file, map_location='cpu', weights_only=True)
    except Exception:  # noqa: BLE001, whatever a damaged file raises: it is fitted anew
        return None


def _plain(record: FitRecord) -> dict[str, Any]:
    gaussian = record.gaussian
    return {
        'density': record.density,
        'looks': [list(astuple(look)) for look in record.looks],
        'step': record.step,
        'steps': record.steps,
        'standard_error': record.standard_error,
        'evidence_ended': record.evidence_ended,
        'facts': record.facts,
        'gaussian': None
        if gaussian is None
        else {
            'mean': torch.from_numpy(gaussian.mean),
            'covariance': torch.from_numpy(gaussian.covariance),
            'shrinkage': float(gaussian.shrinkage),
        },
    }


def _record(kept: dict[str, Any]) -> FitRecord:
    gaussian = kept['gaussian']
    return FitRecord(
        kept['density'],
        [Look(*look) for look in kept['looks']],
        kept['step'],
        kept['steps'],
        kept['standard_error'],
        None
        if gaussian is None
        else Gaussian(
            mean=gaussian['mean'].numpy(),
            covariance=gaussian['covariance'].numpy(),
            shrinkage=gaussian['shrinkage'],
        ),
        kept['evidence_ended'],
        kept['facts'],
    )
