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
from ros_ood_monitor.training.detectors.gaussian import Gaussian
from ros_ood_monitor.training.features.cache import cache_key, explained
from ros_ood_monitor.training.flows.fit_record import FitRecord, Look

__all__ = ['FitStore']

_FORMAT = 1


class FitStore:
    """
    A folder of fitted flows.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    **facts
        Plain values: what the fits depend on.

    """

    def __init__(self, folder: Path, **facts: Any) -> None:
        self._folder = folder
        self._facts = facts

    def about(self, **facts: Any) -> FitStore:
        """
        Return the same folder, for fits that depend on more.

        Parameters
        ----------
        **facts
            Plain values, beside those that are known.

        Returns
        -------
        FitStore
            It finds only what was fitted under all of them.

        """
        return FitStore(self._folder, **{**self._facts, **facts})

    def get_or_fit(
        self, empty: Callable[[], Any], fit: Callable[[], Any]
    ) -> tuple[Any, FitRecord]:
        """
        Return the flow that was fitted under these facts, or fit it now.

        Parameters
        ----------
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
        key = cache_key(fit_format=_FORMAT, torch=torch.__version__, **self._facts)
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
