"""The names of backbones and of their taps, as far as they are known without loading a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ros_ood_monitor.errors import TrainingError

__all__ = [
    'HEAD',
    'LITE_SIZES',
    'MOBILENET',
    'PACKAGED_TAPS',
    'TORCHVISION',
    'check_backbone_name',
    'check_taps',
    'is_onnx',
    'onnx_path',
]

LITE_SIZES: Final = {
    'efficientnet_lite0': 224,
    'efficientnet_lite1': 240,
    'efficientnet_lite2': 260,
}
"""EfficientNet-Lites, and the side of the pictures their weights were made for, in px."""

MOBILENET: Final = 'mobilenet_v2'
TORCHVISION: Final = 'torchvision:'

_ONNX: Final = 'onnx:'

HEAD: Final = 'head'
"""Selects the deepest tap of any backbone."""

PACKAGED_TAPS: Final = {
    **dict.fromkeys(LITE_SIZES, (*(f'blocks.{k}' for k in range(7)), HEAD)),
    MOBILENET: tuple(f'features.{k}' for k in (0, 1, 3, 6, 10, 13, 16, 17, 18)),
}
"""Taps of the backbones whose weights are packages, in the order of the network."""


def check_backbone_name(name: str) -> None:
    """
    Refuse a name that no backbone can have.

    Parameters
    ----------
    name : str
        See `ros_ood_monitor.training.backbones.load_backbone`.

    Raises
    ------
    TrainingError
        If it is neither a packaged backbone, nor one of torchvision, nor an ONNX file.

    """
    if name in PACKAGED_TAPS or name.startswith(TORCHVISION) or is_onnx(name):
        return
    expected = [*PACKAGED_TAPS, f'{TORCHVISION}MODEL', 'FILE.onnx']
    msg = f'backbone is unknown: expected one of {", ".join(expected)}, got {name!r}'
    raise TrainingError(msg)


def is_onnx(name: str) -> bool:
    """Tell whether a backbone is a user's own ONNX file."""
    return name.startswith(_ONNX) or (name.endswith('.onnx') and not name.startswith(TORCHVISION))


def onnx_path(name: str) -> Path:
    """Return the file of such a backbone."""
    return Path(name.removeprefix(_ONNX))


def check_taps(names: Sequence[str] | str, known: Sequence[str]) -> frozenset[str]:
    """
    Return the taps that some names mean.

    Parameters
    ----------
    names : sequence of str, or 'all'
        Names of taps; ``head`` is the deepest one of any backbone.
    known : sequence of str
        All taps of the backbone, in the order of the network.

    Returns
    -------
    frozenset of str
        At least one of the known ones.

    Raises
    ------
    TrainingError
        If a name is unknown, or none is given.

    """
    wanted = [names] if isinstance(names, str) else list(names)
    if wanted == ['all']:
        return frozenset(known)
    wanted = [known[-1] if name == HEAD and HEAD not in known else name for name in wanted]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        msg = (
            f'tap{" is" if len(unknown) == 1 else "s are"} unknown: expected all or some of '
            f'{", ".join(known)}, got {", ".join(map(repr, unknown))}'
        )
        raise TrainingError(msg)
    if not wanted:
        msg = f'no tap given: expected all or some of {", ".join(known)}'
        raise TrainingError(msg)
    return frozenset(wanted)
