"""Files of weights: read without running anything in them, and compared before they are used."""

from __future__ import annotations

from collections.abc import Collection, Mapping
import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ros_ood_monitor.errors import TrainingError

__all__ = ['by_name', 'by_position', 'file_sha256', 'read_state_dict']

_WRAPPERS = ('state_dict', 'model')
_PARALLEL = 'module.'
_SHOWN = 3


def file_sha256(file: Path) -> str:
    """
    Return the digest of a file.

    Parameters
    ----------
    file : Path
        Any file.

    Returns
    -------
    str
        Hexadecimal.

    Raises
    ------
    TrainingError
        If it cannot be read.

    """
    try:
        with file.open('rb') as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        msg = f'weights cannot be read ({error.strerror or error}): {file}'
        raise TrainingError(msg) from error
    return digest.hexdigest()


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """
    Read named tensors from a file of torch.

    Parameters
    ----------
    file : Path
        A state dict, or a checkpoint that holds one as ``state_dict`` or ``model``.

    Returns
    -------
    dict of str to Tensor
        In the order of the file; names without the ``module.`` of parallel training.

    Raises
    ------
    TrainingError
        If it cannot be read, or holds anything but named tensors.

    """
    try:
        content: Any = torch.load(file, map_location='cpu', weights_only=True)
    except OSError as error:
        msg = f'weights cannot be read ({error.strerror or error}): {file}'
        raise TrainingError(msg) from error
    except Exception as error:  # the unpickler raises whatever foreign bytes make of it
        msg = (
            'weights are no plain state dict of torch; '
            f'write one with torch.save(network.state_dict(), file): {file}'
        )
        raise TrainingError(msg) from error
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        msg = f'weights are no state dict: expected named tensors, got other values: {file}'
        raise TrainingError(msg)
    return {str(name).removeprefix(_PARALLEL): value for name, value in content.items()}


def by_name(
    given: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    *,
    file: Path,
    unused: Collection[str] = (),
) -> dict[str, Tensor]:
    """
    Take the tensors that a network needs by their names.

    Parameters
    ----------
    given : mapping of str to Tensor
        Of the file.
    wanted : mapping of str to Tensor
        Of the network.
    file : Path
        For the message.
    unused : collection of str
        First parts of names that may be in the file and are not needed: the classifier.

    Returns
    -------
    dict of str to Tensor
        Exactly the wanted names.

    Raises
    ------
    TrainingError
        If a tensor is missing, has another shape, or belongs to no part of the network.

    """
    problems = [
        f'expected {name} {_shape(target)}, got {_shape(given.get(name))}'
        for name, target in wanted.items()
        if _shape(given.get(name)) != _shape(target)
    ]
    problems += [
        f'expected no {name}, got {_shape(value)}'
        for name, value in given.items()
        if name not in wanted and name.split('.')[0] not in unused
    ]
    if problems:
        more = len(problems) - _SHOWN
        shown = '; '.join(problems[:_SHOWN]) + (f'; and {more} more' if more > 0 else '')
        msg = f'weights are of another network: {shown}; choose the network they belong to: {file}'
        raise TrainingError(msg)
    return {name: given[name] for name in wanted}


def by_position(
    given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, file: Path
) -> dict[str, Tensor]:
    """
    Take the tensors of a network that another library names otherwise, by their order.

    Parameters
    ----------
    given : mapping of str to Tensor
        Of the file, without those that are not needed.
    wanted : mapping of str to Tensor
        Of the network.
    file : Path
        For the message.

    Returns
    -------
    dict of str to Tensor
        The wanted names.

    Raises
    ------
    TrainingError
        If the number of tensors, a shape or the last part of a name differs.

    """
    pairs = list(zip(given.items(), wanted.items(), strict=False))
    for (key, value), (name, target) in pairs:
        kind, expected = key.rpartition('.')[2], name.rpartition('.')[2]
        if (kind, _shape(value)) != (expected, _shape(target)):
            msg = (
                f'weights are of another network: expected {name} {_shape(target)}, '
                f'got {key} {_shape(value)}; choose the network they belong to: {file}'
            )
            raise TrainingError(msg)
    if len(given) != len(wanted):
        msg = (
            f'weights are of another network: expected {len(wanted)} tensors, got {len(given)}; '
            f'choose the network they belong to: {file}'
        )
        raise TrainingError(msg)
    return {name: given[key] for (key, _), (name, _) in pairs}


def _shape(tensor: Tensor | None) -> str:
    return 'none' if tensor is None else str(tuple(tensor.shape))
